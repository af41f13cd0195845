/** What an ES module in TypeScript sees; compiled, never run. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention, flashAttentionWithLse, mergeAttention, onlineSoftmax} from 'tfjs-flash-attention';
import type {FlashAttentionOptions} from 'tfjs-flash-attention';

const options: FlashAttentionOptions = {causal: true, window: [128, 0]};
export const output: tf.Tensor = flashAttention([[1]], [[1]], [[1]], options);
export const merged: tf.Tensor = mergeAttention(
  flashAttentionWithLse([[1]], [[1]], [[1]]),
  flashAttentionWithLse([[1]], [[1]], [[1]]),
).lse;
export const softmax: tf.Tensor = onlineSoftmax([1, 2]);
export type Entries = [
  typeof import('tfjs-flash-attention/graph').fuseAttention,
  typeof import('tfjs-flash-attention/layers').MultiHeadAttention,
  typeof import('tfjs-flash-attention/webgpu').createWebGPUBackend,
];
// @ts-expect-error an unknown option
flashAttention([[1]], [[1]], [[1]], {casual: true});
