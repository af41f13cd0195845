/** The op in its two forms: attention, and attention with the log-sum-exp of every query. */
import {engine} from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, TensorLike} from '@tensorflow/tfjs-core';
import {attentionCall} from './arguments';
import type {FlashAttentionOptions} from './arguments';
import {noteAsked} from './asked';
import {asAttrMap, asInputMap, FlashAttention, listInputs} from './kernels';
import type {FlashAttentionAttrs} from './kernels';
import {isGradientOff} from './tape';

/** Attention's output together with the log of each row's softmax denominator. */
export interface AttentionWithLse {
  /** As `flashAttention` returns it. */
  output: Tensor;
  /** log Σ exp(score) over the visible keys and the sink: [B, H, Sq] in either layout, [B, Sq] for rank 3, [Sq] for rank 2. */
  lse: Tensor;
}

/**
 * softmax(scale · q·kᵀ + …) · v, exactly, in one pass over the keys: no tensor of Sq × Sk is ever made.
 *
 * Source: FlashAttention-2 (Dao 2023, §3.1); online softmax (Milakov & Gimelshein 2018, §3).
 *
 * @param q float32 [B, H, Sq, D] ('BHSD', default), [B, Sq, H, D] ('BSHD'), [B, Sq, D] or [Sq, D].
 * @param k float32, [B, Hkv, Sk, D] and so on; Hkv divides H, and query head h reads key head ⌊h · Hkv / H⌋.
 * @param v float32, [B, Hkv, Sk, Dv] and so on.
 * @param options see `FlashAttentionOptions`; everything is optional.
 * @returns a tensor of q's rank and layout with last dimension Dv; rows that see no key are 0.
 * @throws Error `Argument '…' passed to 'flashAttention' must …, but got …`, before any work.
 */
export const flashAttention = tf.op({
  flashAttention_: (
    q: Tensor | TensorLike,
    k: Tensor | TensorLike,
    v: Tensor | TensorLike,
    options?: FlashAttentionOptions,
  ): Tensor => attend('flashAttention', q, k, v, options, isGradientOff()).output,
});

/**
 * `flashAttention` that also returns the log-sum-exp of every query's scores, differentiable like the output: what
 * `mergeAttention` needs to join parts of a long context.
 *
 * Source: FlashAttention-2 (Dao 2023, §3.1.1).
 *
 * @param q float32, shapes as in `flashAttention`; so are k and v.
 * @param options those of `flashAttention`.
 * @returns {output, lse}; lse is −∞ in rows that see no key (the sink's logit, where there is one).
 * @throws Error `Argument '…' passed to 'flashAttentionWithLse' must …, but got …`, before any work.
 */
export const flashAttentionWithLse = tf.op({
  flashAttentionWithLse_: (
    q: Tensor | TensorLike,
    k: Tensor | TensorLike,
    v: Tensor | TensorLike,
    options?: FlashAttentionOptions,
  ): AttentionWithLse => attend('flashAttentionWithLse', q, k, v, options),
});

function attend(
  opName: string,
  q: Tensor | TensorLike,
  k: Tensor | TensorLike,
  v: Tensor | TensorLike,
  options?: FlashAttentionOptions,
  ignoresLse = false,
): AttentionWithLse {
  const {problem: asked, inputs, rank} = attentionCall(opName, q, k, v, options);
  // The gradient recomputes scores in float32 and would meet an lse of pairs, whose last bits differ: it takes float32's.
  const isExact = asked.precision === 'float16x2' && !isGradientOff();
  const problem = isExact ? {...asked, precision: 'float32' as const} : asked;
  const {names, list} = listInputs(inputs);
  const attrs: FlashAttentionAttrs = {problem, inputNames: names, ignoresLse};
  const outputs: unknown = engine().runKernel(FlashAttention, asInputMap(list), asAttrMap(attrs));
  const [output, lse] = outputs as Tensor[];
  noteAsked(output, attrs);
  if (rank === 4) return {output, lse};
  const {B, Sq, Dv} = problem;
  return rank === 3
    ? {output: tf.reshape(output, [B, Sq, Dv]), lse: tf.reshape(lse, [B, Sq])}
    : {output: tf.reshape(output, [Sq, Dv]), lse: tf.reshape(lse, [Sq])};
}
