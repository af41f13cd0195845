/**
 * Gradients of attention without options, block by block: scores recomputed, p = exp(score − lse) (FlashAttention, Dao et al.
 * 2022, algorithm 4). What a row subtracts or divides by goes into the products, as a column or as a factor of its dO:
 * between the products stand an exponential and one multiplication.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor3D, TensorInfo} from '@tensorflow/tfjs-core';
import type {BackwardCall} from '../../op/kernels';
import {allOf, areFinite, blocksOf, concat, fold, joined, keyCut, rowsOf, unfold} from './blocks';
import type {Block} from './blocks';

/** exp(score) is taken as it is where every |lse| is at most this: then no weight overflows, nor any row as a whole underflows. */
const GREATEST_LSE = 40;

/** [dq], or [dk, dv, dq]: with dk and dv, dq takes one product more; alone it takes three and the exponential. */
export function backward(call: BackwardCall): TensorInfo[] {
  const lse = (call.saved.lse as Tensor).dataSync();
  // Not `some`: a NaN must fail, too.
  if (lse.every(x => Math.abs(x) <= GREATEST_LSE)) {
    const gradients = tf.tidy(() => gradientsOf(call, unshifted(call)));
    if (areFinite(gradients)) return gradients;
    tf.dispose(gradients); // a large dO met a large factor
  }
  return gradientsOf(call, shifted(call));
}

/** [B · Hkv, length, ·] each: pᵀ = exp(keys · rowsᵀ) · factor, dsᵀ = exp(keys · rowsᵀ) ∘ ([v, 1] · dOutput1ᵀ). */
interface Operands {
  /** Scaled. */
  q: Tensor3D;
  k: Tensor3D;
  v1: Tensor3D;
  rows: Tensor3D;
  keys: Tensor3D;
  /** factor · dO. */
  dOutput: Tensor3D;
  /** factor · [dO, dLse − delta]. */
  dOutput1: Tensor3D;
}

/** factor = exp(−lse). */
function unshifted(call: BackwardCall): Operands {
  const {q, k, v1, dOutput, dScore, lse, lseLow} = foldAll(call);
  const factor = tf.exp<Tensor3D>(tf.neg(tf.add(lse, lseLow)));
  const scaled = tf.mul<Tensor3D>(dOutput, factor);
  const dOutput1 = tf.concat<Tensor3D>([scaled, tf.mul<Tensor3D>(dScore, factor)], 2);
  return {q, k, v1, rows: q, keys: k, dOutput: scaled, dOutput1};
}

/** factor = 1; two columns take lse off the scores. */
function shifted(call: BackwardCall): Operands {
  const {q, k, v1, ones, dOutput, dScore, lse, lseLow} = foldAll(call);
  const rows = tf.concat([q, tf.neg(lse), tf.neg(lseLow)], 2);
  return {q, k, v1, rows, keys: tf.concat([k, ones, ones], 2), dOutput, dOutput1: tf.concat([dOutput, dScore], 2)};
}

function foldAll({problem, inputs, saved}: BackwardCall) {
  const {B, H, Hkv, Sq, Sk} = problem;
  const column = (x: TensorInfo): Tensor3D => tf.reshape(x as Tensor, [B * Hkv, (H / Hkv) * Sq, 1]);
  const ones = tf.ones<tf.Rank.R3>([B * Hkv, Sk, 1]);
  const dOutput = fold(problem, saved.dOutput, H);
  const delta = tf.sum<Tensor3D>(tf.mul(dOutput, fold(problem, saved.output, H)), -1, true);
  return {
    q: tf.mul<Tensor3D>(fold(problem, inputs.q, H), problem.scale),
    k: fold(problem, inputs.k, Hkv),
    v1: tf.concat([fold(problem, inputs.v, Hkv), ones], 2),
    ones,
    dOutput,
    dScore: tf.sub<Tensor3D>(column(saved.dLse), delta),
    lse: column(saved.lse),
    lseLow: column(saved.lseLow),
  };
}

function gradientsOf({problem, wanted}: BackwardCall, operands: Operands): Tensor[] {
  const {H, Hkv, Sq, Sk, scale} = problem;
  const dqs: Tensor[] = []; // of the blocks that share rows: their sum
  const dks: Tensor[] = [];
  const dvs: Tensor[] = [];
  for (const block of blocksOf(keyCut(problem))) {
    const [dq, ...ofKeys] = tf.tidy(() => blockGradients(operands, block, wanted === 'kv'));
    if (block.first === 0) dqs.push(dq);
    else dqs.push(addTo(dqs.pop()!, dq));
    if (wanted === 'kv') [dks, dvs].forEach((parts, n) => parts.push(ofKeys[n]));
  }
  const dq = unfold(problem, tf.mul(concat(dqs, 0), scale), H, Sq);
  if (wanted !== 'kv') return [dq];
  const [dk, dv] = [dks, dvs].map(parts => unfold(problem, joined(keyCut(problem), parts), Hkv, Sk));
  return [dk, dv, dq];
}

/** [dq], the block's part, or [dq, dk, dv] with those of the block's keys. Transposed: two products of three take it as it is. */
function blockGradients(operands: Operands, block: Block, withKeys: boolean): Tensor[] {
  const k = rowsOf(operands.k, block);
  const keys = operands.keys === operands.k ? k : rowsOf(operands.keys, block);
  const exponents = tf.matMul(keys, allOf(operands.rows, block), false, true);
  const exponentials = tf.exp(exponents);
  exponents.dispose();
  const dWeights = tf.matMul(rowsOf(operands.v1, block), allOf(operands.dOutput1, block), false, true);
  const dScores = tf.mul(exponentials, dWeights);
  dWeights.dispose();
  const dq = tf.matMul(dScores, k, true);
  if (!withKeys) return [dq];
  const dk = tf.matMul(dScores, allOf(operands.q, block));
  return [dq, dk, tf.matMul(exponentials, allOf(operands.dOutput, block))];
}

function addTo(sum: Tensor, part: Tensor): Tensor {
  const added = tf.add(sum, part);
  tf.dispose([sum, part]);
  return added;
}
