/** Shapes that the attention layers compare and complain about, and their projections. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import type {LayerVariable, Shape} from '@tensorflow/tfjs-layers';
import {argumentError, shown} from '../../kernels/options';
import {maskOf} from './implicit_masks';
import {KVCache} from './kv_cache';

export interface Weights {
  kernel: LayerVariable;
  bias: LayerVariable | null;
}

/** x [rows, channels] · kernel + bias, both flattened to two axes. */
export function product(x: Tensor, kernel: LayerVariable, bias: LayerVariable | null, channels: number): Tensor {
  const result = tf.matMul(x, tf.reshape<tf.Rank.R2>(kernel.read(), [channels, -1]));
  return bias ? tf.add(result, tf.reshape(bias.read(), [-1])) : result;
}

export function shapesOfInputs(inputShape: Shape | Shape[]): Shape[] {
  return Array.isArray(inputShape[0]) ? (inputShape as Shape[]) : [inputShape as Shape];
}

export function compatible(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, n) => size === b[n] || size === null || b[n] === null);
}

export function checkTokens(layer: string, name: string, x: Tensor, B: number, T: number): Tensor {
  if (!tf.util.arraysEqual(x.shape, [B, T])) throw argumentError(layer)(name, `have shape [${[B, T]}]`, x.shape);
  return tf.cast(x, 'int32');
}

export function cachedMask(layer: string, mask: Tensor): Tensor {
  if (mask.rank === 4) return mask;
  if (mask.rank === 3) return tf.expandDims(mask, 1);
  throw argumentError(layer)('attentionMask', 'be of rank 3 [B, T, S] or 4 where a cache is given', mask.shape);
}

/** What a call with a cache cannot have beside it. */
export function checkCachedCall(
  layer: string,
  query: Tensor,
  cache: unknown,
  dropout: number,
  excluded: Record<string, unknown>,
): asserts cache is KVCache {
  const fail = argumentError(layer);
  if (!(cache instanceof KVCache)) throw fail('cache', 'be a KVCache', shown(cache));
  if (query.rank !== 3) throw fail('cache', 'be left out where the query is not of rank 3', query.shape);
  if (dropout > 0) throw fail('cache', 'be left out in training with dropout', 'one');
  for (const [option, value] of Object.entries(excluded)) {
    if (value !== undefined) throw fail(option, 'be left out where a cache is given', 'both');
  }
  if (maskOf(query))
    throw fail('lengths', 'say how many tokens are there (a cache keeps no mask)', 'a query with a mask');
}
