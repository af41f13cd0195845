/**
 * Gradients of attention from plain tfjs ops, block of rows by block of rows: scores recomputed, p = exp(score − lse − lseLow).
 * The registered kernel runs it; so does the gradient of a gradient, outside any kernel, where tfjs records every op.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor3D, Tensor4D} from '@tensorflow/tfjs-core';
import {shapesOf} from '../../../kernels/problem';
import type {AttentionInputs, AttentionProblem} from '../../../kernels/problem';
import type {GradInputs, WantedGradient} from '../../op/kernels';
import {isMinusInfinity} from '../../op/infinity';
import {product, timesTransposed} from './product';
import {
  blockScores, dropoutFactors, foldRows, headsFirst, HIDDEN, keysOf, operandsOf, rowBlocks, select,
} from './row_block'; // prettier-ignore
import type {Operands, RowBlock} from './row_block';

/** The wanted gradients, in the order that `FlashAttentionGrad` documents; call it inside a tidy. */
export function composedBackward(
  problem: AttentionProblem,
  inputs: AttentionInputs<Tensor>,
  saved: GradInputs<Tensor>,
  wanted: WantedGradient,
): Tensor[] {
  const {B, H, Sq, Sk} = problem;
  const shapes = shapesOf(problem);
  if (wanted === 'sinks') return [B * Sq === 0 ? tf.zeros([H]) : gradientOfSinks(problem, inputs, saved)];
  if (B * Sq * Sk === 0) {
    const empty = {q: [shapes.q], kv: [shapes.k, shapes.v], bias: [problem.bias ?? []]}[wanted];
    return empty.map(shape => tf.zeros(shape as number[]));
  }
  const {output, dOutput, lse, lseLow, dLse} = saved;
  const column = (x: Tensor): Tensor4D => tf.reshape(x, [B, H, Sq, 1]);
  const rows: RowValues = {
    dOutput: headsFirst(problem, dOutput),
    // Where a row sees nothing its lse is −∞; its places are all hidden, and 0 keeps NaN out of them.
    lse: column(tf.where(isMinusInfinity(lse), 0, lse)),
    lseLow: column(lseLow),
    delta: tf.sub(deltaOf(problem, output, dOutput), column(dLse)),
  };
  const operands = operandsOf(problem, inputs);
  const blockGradients = (block: RowBlock): Tensor[] => backwardBlock(problem, inputs, operands, rows, block, wanted);
  if (wanted === 'q') return [headsFirst(problem, concatRows(problem, blockGradients))];
  if (wanted === 'bias') {
    return [problem.bias![2] === 1 ? sumBlocks(problem, blockGradients)[0] : concatRows(problem, blockGradients)];
  }
  const {Hkv, D, Dv} = problem;
  const [dk, dv] = sumBlocks(problem, blockGradients);
  return [headsFirst(problem, tf.reshape(dk, [B, Hkv, Sk, D])), headsFirst(problem, tf.reshape(dv, [B, Hkv, Sk, Dv]))];
}

/** Gradients that have a row per query: the blocks one below the other. */
function concatRows(problem: AttentionProblem, gradients: (block: RowBlock) => Tensor[]): Tensor {
  const parts = rowBlocks(problem).map(block => tf.tidy(() => gradients(block)[0]));
  return parts.length === 1 ? parts[0] : tf.concat(parts, 2);
}

/** Gradients to which every query adds: summed in the order of the blocks, one running sum held. */
function sumBlocks(problem: AttentionProblem, gradients: (block: RowBlock) => Tensor[]): Tensor[] {
  let sums: Tensor[] = [];
  for (const block of rowBlocks(problem)) {
    const before = sums;
    sums = tf.tidy(() => gradients(block).map((part, n) => (before.length > 0 ? tf.add(before[n], part) : part)));
    tf.dispose(before);
  }
  return sums;
}

/** Per query, [B, H, Sq, ·]. */
interface RowValues {
  dOutput: Tensor4D;
  lse: Tensor4D;
  lseLow: Tensor4D;
  /** rowsum(dO ∘ O) − dLse. */
  delta: Tensor4D;
}

function backwardBlock(
  problem: AttentionProblem,
  inputs: AttentionInputs<Tensor>,
  operands: Operands,
  values: RowValues,
  block: RowBlock,
  wanted: WantedGradient,
): Tensor[] {
  const {B, H, Hkv, Sk, D, Dv, scale, dropout} = problem;
  const {i0, rows, from, to} = block;
  const fold = (x: Tensor4D): Tensor3D => tf.reshape(x, [B * Hkv, (H / Hkv) * rows, x.shape[3]]);
  const cut = (x: Tensor4D): Tensor4D => tf.slice(x, [0, 0, i0, 0], [B, H, rows, x.shape[3]]);
  const allKeys = (x: Tensor3D): Tensor3D => tf.pad(x, [[0, 0], [from, Sk - to], [0, 0]]); // prettier-ignore
  if (from === to) {
    if (wanted === 'q') return [tf.zeros([B, H, rows, D])];
    if (wanted === 'kv') return [tf.zeros([B * Hkv, Sk, D]), tf.zeros([B * Hkv, Sk, Dv])];
    const [b, h, i, j] = problem.bias!;
    return [tf.zeros([b, h, i === 1 ? 1 : rows, j])];
  }

  const {scores, visible, capRatio} = blockScores(problem, inputs, operands, block);
  const exponent = tf.sub<Tensor4D>(tf.sub(scores, cut(values.lse)), cut(values.lseLow));
  const p = tf.exp<Tensor4D>(select(visible, exponent, HIDDEN));
  const factors = dropout > 0 ? dropoutFactors(problem, block) : null;
  const dOutput = foldRows(problem, values.dOutput, block);
  const dWeights = tf.reshape(timesTransposed(dOutput, keysOf(operands.v, block)), [B, H, rows, to - from]);
  const dKept = (factors ? tf.mul(dWeights, factors) : dWeights) as Tensor4D;
  const dScores = tf.mul<Tensor4D>(p, tf.sub(select(visible, dKept, 0), cut(values.delta)));
  if (wanted === 'bias') return [sumToBias(problem, dScores, block)];

  const dProducts = fold(capRatio ? tf.mul(dScores, tf.sub(1, tf.square(capRatio))) : dScores);
  if (wanted === 'q') {
    const dq = tf.mul(product(dProducts, keysOf(operands.k, block)), scale);
    return [tf.reshape(dq, [B, H, rows, D])];
  }
  const kept = fold(factors ? tf.mul(p, factors) : p);
  return [
    allKeys(product(dProducts, foldRows(problem, operands.q, block), true)), // q is scaled already
    allKeys(product(kept, dOutput, true)),
  ];
}

/** The block's part of the bias's gradient: summed over broadcast axes, keys beside the block are zeros. */
function sumToBias(problem: AttentionProblem, dScores: Tensor4D, {from, to}: RowBlock): Tensor {
  const shape = problem.bias!;
  const broadcast = [0, 1, 2, 3].filter(axis => shape[axis] === 1 && dScores.shape[axis] !== 1);
  const sum = broadcast.length > 0 ? tf.sum(dScores, broadcast, true) : dScores;
  if (shape[3] === 1) return sum;
  return tf.pad(sum, [[0, 0], [0, 0], [0, 0], [from, problem.Sk - to]]); // prettier-ignore
}

/** rowsum(dO ∘ O), [B, H, Sq, 1]. */
function deltaOf(problem: AttentionProblem, output: Tensor, dOutput: Tensor): Tensor4D {
  return tf.sum(headsFirst(problem, tf.mul(output, dOutput)), -1, true);
}

/** Σ over batch and queries of the sink's own probability · (dLse − delta). */
function gradientOfSinks(
  problem: AttentionProblem,
  inputs: AttentionInputs<Tensor>,
  {output, lse, lseLow, dOutput, dLse}: GradInputs<Tensor>,
): Tensor {
  const {B, H, Sq} = problem;
  const sinks = tf.reshape(inputs.sinks!, [1, H, 1]);
  const seesNone = isMinusInfinity(lse);
  const exponent = tf.sub(tf.sub(sinks, tf.where(seesNone, 0, lse)), lseLow);
  const p = tf.exp(tf.where(seesNone, HIDDEN, exponent));
  const delta = tf.reshape(deltaOf(problem, output, dOutput), [B, H, Sq]);
  return tf.sum(tf.mul(p, tf.sub(dLse, delta)), [0, 2]);
}
