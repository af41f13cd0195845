/** Joins attention over many disjoint sets of keys at once, where joining two at a time would take many small ops. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import type {Layout} from '../../kernels/options';
import type {AttentionWithLse} from '../op/flash_attention';

/** The exponent of a weight that must be 0 on every backend, where exp(−∞) may be NaN. */
const NO_WEIGHT = -1e30;

/**
 * The output that one call over all the keys gives. Not differentiable in lse.
 * Source: the split-keys reduction of Flash-Decoding (Dao et al. 2023).
 */
export function mergeParts(parts: AttentionWithLse[], layout: Layout): Tensor {
  if (parts.length === 1) return parts[0].output;
  const lse = tf.stack(parts.map(part => part.lse)); // [parts, B, H, Sq]
  const max = tf.max(lse, 0);
  const origin = tf.where(tf.equal(max, -Infinity), 0, max);
  const weights = tf.exp(tf.where(tf.equal(lse, -Infinity), NO_WEIGHT, tf.sub(lse, origin)));
  const sum = tf.sum(weights, 0);
  const shares = tf.unstack(tf.div(weights, tf.where(tf.equal(sum, 0), 1, sum)));
  const besideWidth = (x: Tensor): Tensor => tf.expandDims(layout === 'BHSD' ? x : tf.transpose(x, [0, 2, 1]), -1);
  return tf.addN(parts.map(({output}, n) => tf.mul(output, besideWidth(shares[n]))));
}
