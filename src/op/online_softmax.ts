/** Softmax as an op of its own, in two passes over the logits instead of tfjs's five. */
import {engine} from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, TensorLike} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';
import {asTensor} from './arguments';
import {OnlineSoftmax} from './kernels';

/**
 * Softmax along one axis: a first pass finds the maximum and the sum of exponentials together, a second writes the result.
 *
 * Source: Milakov & Gimelshein, "Online normalizer calculation for softmax" (2018), algorithm 3.
 *
 * @param logits float32, rank 1 or more.
 * @param axis integer in [−rank, rank); default −1, the last.
 * @returns a tensor of logits' shape whose entries along the axis add up to 1.
 * @throws Error `Argument '…' passed to 'onlineSoftmax' must …, but got …`.
 */
export const onlineSoftmax = tf.op({
  onlineSoftmax_: (logits: Tensor | TensorLike, axis = -1): Tensor => {
    const fail = argumentError('onlineSoftmax');
    const $logits = asTensor('onlineSoftmax', 'logits', logits, 'float32');
    const {rank} = $logits;
    if (rank < 1) throw fail('logits', 'be a tensor of rank 1 or more', $logits.shape);
    if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
      throw fail('axis', `be an integer in [${-rank}, ${rank})`, shown(axis));
    }
    if ($logits.size === 0) return tf.clone($logits);
    const last = rank - 1;
    const at = (axis + rank) % rank;
    const swap = $logits.shape.map((_, n) => (n === at ? last : n === last ? at : n));
    const $last = at === last ? $logits : tf.transpose($logits, swap);
    const rows = tf.reshape($last, [-1, $last.shape[last]]);
    const softmax: Tensor = engine().runKernel(OnlineSoftmax, {logits: rows});
    const result = tf.reshape(softmax, $last.shape);
    return at === last ? result : tf.transpose(result, swap);
  },
});
