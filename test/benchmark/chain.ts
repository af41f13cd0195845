/** What people write without this package, to be timed beside it: matMul, scale, softmax, matMul; [B, H, N, D] each, a bias where there is one. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor4D} from '@tensorflow/tfjs-core';

export function chain(q: Tensor4D, k: Tensor4D, v: Tensor4D, bias?: Tensor): Tensor {
  return tf.tidy(() => {
    const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(q.shape[3]));
    return tf.matMul(tf.softmax(bias ? tf.add(scores, bias) : scores), v);
  });
}
