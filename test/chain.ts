/**
 * The same options from plain float32 tfjs ops, dense and differentiable: what a user would write without this package. Its
 * error against the reference is the yardstick of the contract's tolerance. What is visible, ALiBi's distances and dropout's
 * set are made on the host, as the chain is about arithmetic.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {AttentionCase} from './cases';
import type {CaseInputs} from './inputs';
import {dropoutFactor, isVisible, offsetOf} from './reference';

export interface ChainArguments {
  q: tf.Tensor;
  k: tf.Tensor;
  v: tf.Tensor;
  bias?: tf.Tensor;
  sinks?: tf.Tensor;
}

export function chainAttention(
  c: AttentionCase,
  host: CaseInputs,
  x: ChainArguments,
): {output: tf.Tensor; lse: tf.Tensor} {
  const {B, H, Hkv, Sq, Sk, D, Dv, options} = c;
  const q = tf.mul(headsFirst(c, x.q, H, Sq, D), options.scale ?? 1 / Math.sqrt(D));
  const k = perQueryHead(headsFirst(c, x.k, Hkv, Sk, D), H);
  const v = perQueryHead(headsFirst(c, x.v, Hkv, Sk, Dv), H);

  let scores: tf.Tensor = tf.matMul(q, k, false, true);
  if (options.softcap) scores = tf.mul(tf.tanh(tf.div(scores, options.softcap)), options.softcap);
  if (x.bias) scores = tf.add(scores, tf.reshape(x.bias, rank4(x.bias.shape, c.rank)));
  if (host.alibiSlopes) {
    const {shape, values} = host.alibiSlopes;
    const slope = (b: number, h: number): number => values[shape.length === 2 ? b * H + h : h];
    const distance = onScores(c, (b, h, i, j) => slope(b, h) * Math.abs(i + offsetOf(c, host, b) - j));
    scores = tf.sub(scores, distance);
  }

  const seen = onScores(c, (b, h, i, j) => Number(isVisible(c, host, b, h, i, j)));
  const visible = tf.equal(seen, 1);
  const sink = x.sinks && tf.reshape(x.sinks, [1, H, 1, 1]);
  let max: tf.Tensor = tf.max(tf.where(visible, scores, tf.fill(scores.shape, -Infinity)), -1, true);
  if (sink) max = tf.maximum(max, tf.tile(sink, [B, 1, Sq, 1]));
  // From host data alone: tfjs's comparisons have no gradient.
  const isEmpty = tf.equal(tf.max(seen, -1, true), sink ? -1 : 0);
  max = constantOf(tf.where(isEmpty, tf.zerosLike(max), max));
  // Selected before and after exp: what is hidden may overflow there, and 0 · ∞ would spoil the gradient.
  const hidden = tf.zerosLike(scores);
  const exp = tf.where(visible, tf.exp(tf.where(visible, tf.sub(scores, max), hidden)), hidden);
  let sum: tf.Tensor = tf.sum(exp, -1, true);
  if (sink) sum = tf.add(sum, tf.exp(tf.sub(sink, max)));
  const divisor = tf.where(isEmpty, tf.onesLike(sum), sum);

  let p = tf.div(exp, divisor);
  if (options.dropout)
    p = tf.mul(
      p,
      onScores(c, (b, h, i, j) => dropoutFactor(c, b, h, i, j)),
    );
  const lse = tf.where(isEmpty, tf.fill(sum.shape, -Infinity), tf.add(tf.log(divisor), max));
  const output = tf.matMul(p, v);
  return {
    output: tf.reshape(c.layout === 'BSHD' ? tf.transpose(output, [0, 2, 1, 3]) : output, [
      ...x.q.shape.slice(0, -1),
      Dv,
    ]),
    lse: tf.reshape(lse, [B, H, Sq]),
  };
}

/** The chain needs no words for empty sizes: nothing is computed there. */
export function chainApplies({B, Sq, Sk}: AttentionCase): boolean {
  return B > 0 && Sq > 0 && Sk > 0;
}

function headsFirst(
  {B, rank, layout}: AttentionCase,
  x: tf.Tensor,
  heads: number,
  rows: number,
  width: number,
): tf.Tensor {
  return rank === 4 && layout === 'BSHD' ? tf.transpose(x, [0, 2, 1, 3]) : tf.reshape(x, [B, heads, rows, width]);
}

function perQueryHead(x: tf.Tensor, H: number): tf.Tensor {
  const [B, Hkv, rows, width] = x.shape;
  if (Hkv === H) return x;
  const repeated = tf.tile(tf.reshape(x, [B, Hkv, 1, rows * width]), [1, 1, H / Hkv, 1]);
  return tf.reshape(repeated, [B, H, rows, width]);
}

function rank4(shape: number[], rank: number): number[] {
  const full = [...Array<number>(rank - shape.length).fill(1), ...shape];
  return rank === 4 ? full : rank === 3 ? [full[0], 1, full[1], full[2]] : [1, 1, full[0], full[1]];
}

function onScores(
  {B, H, Sq, Sk}: AttentionCase,
  value: (b: number, h: number, i: number, j: number) => number,
): tf.Tensor {
  const values = new Float32Array(B * H * Sq * Sk);
  let n = 0;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++)
      for (let i = 0; i < Sq; i++) for (let j = 0; j < Sk; j++) values[n++] = value(b, h, i, j);
  }
  return tf.tensor(values, [B, H, Sq, Sk]);
}

/** Stops the gradient: softmax does not depend on the maximum that is subtracted. */
function constantOf(x: tf.Tensor): tf.Tensor {
  return tf.customGrad((y: tf.Tensor | tf.GradSaveFunc) => ({
    value: tf.clone(y as tf.Tensor),
    gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
  }))(x);
}
