/**
 * Attention between projected heads with Keras's rules for masks: fused, or unfused where the scores themselves are wanted.
 *
 * B batch, T queries, S keys, H query heads, Hkv key/value heads.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {flashAttentionWithLse} from '../op/flash_attention';
import {untaped} from '../op/tape';

/** q [B, T, H, D], k [B, S, Hkv, D], v [B, S, Hkv, Dv]. */
export interface Heads {
  q: Tensor;
  k: Tensor;
  v: Tensor;
}

export interface AttendOptions {
  scale: number;
  causal: boolean;
  /** bool [B, T]: tokens that are there; a query that is not gets the average of all values. */
  queryMask?: Tensor;
  /** bool [B, S]. */
  keyMask?: Tensor;
  /** bool, rank 4, broadcasts to [B, H, T, S]. */
  attentionMask?: Tensor;
  /** int32 [B, T], for self-attention over packed sequences. */
  segmentIds?: Tensor;
  /** float32 [H]. */
  sinks?: Tensor;
  /** 0 outside of training. */
  dropout: number;
  seed?: number;
}

/** What Keras adds to a hidden score. */
const HIDDEN = -1e9;

/** Output [B, T, H, Dv]. */
export function attendFused({q, k, v}: Heads, options: AttendOptions): Tensor {
  const {scale, causal, queryMask, segmentIds, sinks, dropout, seed} = options;
  const mask = untaped(() => joinMasks(options));
  const {output, lse} = flashAttentionWithLse(q, k, v, {
    layout: 'BSHD',
    scale,
    ...(causal && {causal, queryOffset: 0}),
    ...(mask && {mask}),
    ...(segmentIds && {segmentIds: {query: segmentIds, key: segmentIds}}),
    ...(sinks && {sinks}),
    ...(dropout > 0 && {dropout, seed}),
  });
  if ((!mask && !queryMask) || sinks) return output;
  // Keras hides by adding −1e9, which leaves a row that sees nothing the average of all values.
  // (Transposed as float32: webgpu's transpose knows no bool.)
  const seesNone = untaped(() => {
    const nothing = tf.expandDims(tf.equal(tf.transpose(lse, [0, 2, 1]), -Infinity), -1);
    return queryMask
      ? tf.logicalOr(nothing, tf.logicalNot(tf.reshape(queryMask, [...queryMask.shape, 1, 1])))
      : nothing;
  });
  return tf.where(seesNone, perQueryHead(tf.mean(v, 1, true), q.shape[2]!), output);
}

/** Output [B, T, H, Dv] and scores [B, H, T, S] after softmax, before dropout; holds a few tensors of T × S. */
export function attendWithScores({q, k, v}: Heads, options: AttendOptions): {output: Tensor; scores: Tensor} {
  const {scale, causal, queryMask, segmentIds, sinks, dropout, seed} = options;
  const [B, T, H] = q.shape as number[];
  const headsFirst = (x: Tensor): Tensor => tf.transpose(perQueryHead(x, H), [0, 2, 1, 3]);
  let logits: Tensor = tf.matMul(headsFirst(tf.mul(q, scale)), headsFirst(k), false, true);
  const visible = untaped(() => {
    const S = k.shape[1]!;
    const conditions = [joinMasks(options)];
    if (queryMask) conditions.push(tf.reshape(queryMask, [B, 1, T, 1]));
    if (causal)
      conditions.push(tf.lessEqual(tf.range(0, S, 1, 'int32'), tf.expandDims(tf.range(0, T, 1, 'int32'), -1)));
    if (segmentIds)
      conditions.push(tf.equal(tf.reshape(segmentIds, [B, 1, T, 1]), tf.reshape(segmentIds, [B, 1, 1, T])));
    return allOf(conditions);
  });
  if (visible)
    logits = tf.add(
      logits,
      untaped(() => tf.mul(tf.sub(1, tf.cast(visible, 'float32')), HIDDEN)),
    );
  const scores = sinks ? softmaxWithSink(logits, sinks) : tf.softmax(logits);
  const weights = dropout > 0 ? tf.dropout(scores, dropout, undefined, seed) : scores;
  return {output: tf.transpose(tf.matMul(weights, headsFirst(v)), [0, 2, 1, 3]), scores};
}

function joinMasks({keyMask, attentionMask}: AttendOptions): Tensor | undefined {
  const ofKeys = keyMask && tf.reshape(keyMask, [keyMask.shape[0], 1, 1, keyMask.shape[1]!]);
  return allOf([ofKeys, attentionMask]);
}

function allOf(conditions: Array<Tensor | undefined>): Tensor | undefined {
  const present = conditions.filter(condition => condition !== undefined);
  return present.length === 0 ? undefined : present.reduce((a, b) => tf.logicalAnd(a, b));
}

function softmaxWithSink(logits: Tensor, sinks: Tensor): Tensor {
  const [B, H, T, S] = logits.shape as number[];
  const column = tf.tile(tf.reshape(sinks, [1, H, 1, 1]), [B, 1, T, 1]);
  return tf.slice(tf.softmax(tf.concat([logits, column], -1)), [0, 0, 0, 0], [B, H, T, S]);
}

/** [B, S, Hkv, width] → [B, S, H, width]. */
function perQueryHead(x: Tensor, H: number): Tensor {
  const [B, S, Hkv, width] = x.shape as number[];
  if (Hkv === H) return x;
  // Of rank 4, as tfjs has no gradient of a tile of rank 5.
  return tf.reshape(tf.tile(tf.reshape(x, [B * S, Hkv, 1, width]), [1, 1, H / Hkv, 1]), [B, S, H, width]);
}
