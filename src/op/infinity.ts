/**
 * −∞ as tfjs ops can bear it: in debug mode tfjs refuses to upload an infinity, and comparing with one or filling with one
 * uploads it. So it is compared with float32's lowest number, and made by overflow.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {untaped} from './tape';

export const FLOAT32_LOWEST = -3.4028234663852886e38;

/** Where x is −∞; a constant to every gradient. NaN is not. */
export function isMinusInfinity(x: Tensor): Tensor {
  return untaped(() => tf.less(x, FLOAT32_LOWEST));
}

/** A tensor full of −∞. */
export function minusInfinities(shape: number[]): Tensor {
  return tf.add(tf.zeros(shape), tf.mul(FLOAT32_LOWEST, 2));
}

/** x, but −∞ where the condition holds. */
export function minusInfinityWhere(condition: Tensor, x: Tensor): Tensor {
  return tf.where(condition, tf.mul(FLOAT32_LOWEST, 2), x);
}
