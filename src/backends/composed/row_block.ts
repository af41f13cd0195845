/**
 * One block of query rows in plain tfjs ops: scores and visibility of [B, H, rows, keys]. Forward and backward walk over such
 * blocks, so that no tensor of Sq × Sk exists. Query heads that share a key head are folded into the rows: products are
 * [B·Hkv, group·rows, ·], and k is never repeated.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Rank, Tensor, Tensor3D, Tensor4D} from '@tensorflow/tfjs-core';
import {keptInRow} from '../../../kernels/cpu/philox';
import {visibleKeys} from '../../../kernels/problem';
import type {AttentionInputs, AttentionProblem} from '../../../kernels/problem';
import {isMinusInfinity} from '../../op/infinity';
import {untaped} from '../../op/tape';
import {timesTransposed} from './product';

/** Rows of a block: large enough that each op has work, within the contract's 512. */
export const BLOCK_ROWS = 256;

/** Added to nothing, only selected: its exponential is exactly 0 on every backend, where that of −∞ may be NaN. */
export const HIDDEN = -1e30;

/** q (scaled), k and v as [B·heads, S, width]; rows of k and v beyond the batch's length are zeros. */
export interface Operands {
  q: Tensor4D;
  k: Tensor3D;
  v: Tensor3D;
}

export interface RowBlock {
  i0: number;
  rows: number;
  /** The keys [from, to) that some row of the block may see, as far as the host knows. */
  from: number;
  to: number;
}

/** Heads before rows, whatever the layout. */
export function headsFirst(problem: AttentionProblem, x: Tensor): Tensor4D {
  return (problem.layout === 'BHSD' ? x : tf.transpose(x, [0, 2, 1, 3])) as Tensor4D;
}

export function operandsOf(problem: AttentionProblem, inputs: AttentionInputs<Tensor>): Operands {
  const {B, Hkv, Sk, D, Dv, scale} = problem;
  let k = headsFirst(problem, inputs.k);
  let v = headsFirst(problem, inputs.v);
  if (problem.hasKeyLengths) {
    const exists = tf.less(tf.reshape(range(0, Sk), [1, 1, Sk, 1]), tf.reshape(inputs.keyLengths!, [B, 1, 1, 1]));
    k = tf.where(exists, k, 0);
    v = tf.where(exists, v, 0);
  }
  return {
    q: tf.mul(headsFirst(problem, inputs.q), scale),
    k: tf.reshape(k, [B * Hkv, Sk, D]),
    v: tf.reshape(v, [B * Hkv, Sk, Dv]),
  };
}

/** Blocks in order; causal and windowed blocks name only the keys they can see. */
export function rowBlocks(problem: AttentionProblem): RowBlock[] {
  const {Sq, Sk, queryOffset, hasQueryOffset} = problem;
  const blocks: RowBlock[] = [];
  for (let i0 = 0; i0 < Sq; i0 += BLOCK_ROWS) {
    const rows = Math.min(BLOCK_ROWS, Sq - i0);
    const first = visibleKeys(problem, i0, queryOffset);
    const last = visibleKeys(problem, i0 + rows - 1, queryOffset);
    const [from, to] = hasQueryOffset ? [0, Sk] : [first.from, Math.max(first.from, last.to)];
    blocks.push({i0, rows, from, to});
  }
  return blocks;
}

/** Rows [i0, i0 + rows) of [B, H, S, width], folded to [B·Hkv, group·rows, width]. */
export function foldRows(problem: AttentionProblem, x: Tensor4D, {i0, rows}: RowBlock): Tensor3D {
  const {B, H, Hkv} = problem;
  const width = x.shape[3];
  return tf.reshape(tf.slice(x, [0, 0, i0, 0], [B, H, rows, width]), [B * Hkv, (H / Hkv) * rows, width]);
}

/** The block's keys of [B·Hkv, Sk, width]. */
export function keysOf(x: Tensor3D, {from, to}: RowBlock): Tensor3D {
  return to - from === x.shape[1] ? x : tf.slice(x, [0, from, 0], [x.shape[0], to - from, x.shape[2]]);
}

export interface BlockScores {
  /** [B, H, rows, keys]; at hidden places whatever k gave. */
  scores: Tensor4D;
  /** Broadcasts to scores; null where every place is visible. */
  visible: Tensor | null;
  /** The softcap's tanh(s / c), for its derivative. */
  capRatio: Tensor4D | null;
}

export function blockScores(
  problem: AttentionProblem,
  inputs: AttentionInputs<Tensor>,
  {q, k}: Operands,
  block: RowBlock,
): BlockScores {
  const {B, H, softcap, alibi} = problem;
  const {rows, from, to} = block;
  const products = timesTransposed(foldRows(problem, q, block), keysOf(k, block));
  let scores = tf.reshape<Rank.R4>(products, [B, H, rows, to - from]);
  let capRatio: Tensor4D | null = null;
  if (softcap > 0) {
    capRatio = tf.tanh(tf.div(scores, softcap));
    scores = tf.mul(capRatio, softcap);
  }
  const bias = problem.bias && cutScores(inputs.bias!, problem.bias, block);
  if (bias) scores = tf.add(scores, bias);
  if (alibi !== 'none') {
    const slopes = tf.reshape(inputs.alibiSlopes!, [alibi === 'perHead' ? 1 : B, H, 1, 1]);
    const distance = tf.abs(tf.sub(queryPositions(problem, inputs, block), keyPositions(block)));
    scores = tf.sub(scores, tf.mul(slopes, tf.cast(distance, 'float32')));
  }
  return {scores, visible: untaped(() => visibility(problem, inputs, block, bias)), capRatio};
}

/** x where visible, `otherwise` elsewhere: selected, so nothing that stands at a hidden place gets through. */
export function select(visible: Tensor | null, x: Tensor4D, otherwise: number): Tensor4D {
  return visible ? tf.where(visible, x, tf.fill(x.shape, otherwise)) : x; // filled: to broadcast a scalar takes cpu far longer
}

/** What dropout multiplies the block's probabilities with: 0 or 1 / (1 − p). Made on the host: only int32 math can. */
export function dropoutFactors(problem: AttentionProblem, {i0, rows, from, to}: RowBlock): Tensor4D {
  const {B, H, dropout, seed} = problem;
  const factors = new Float32Array(B * H * rows * (to - from));
  let at = 0;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = i0; i < i0 + rows; i++) {
        const keeps = keptInRow(seed, dropout, b, h, i);
        for (let j = from; j < to; j++) factors[at++] = keeps(j) ? 1 / (1 - dropout) : 0;
      }
    }
  }
  return tf.tensor4d(factors, [B, H, rows, to - from]);
}

function visibility(
  problem: AttentionProblem,
  inputs: AttentionInputs<Tensor>,
  block: RowBlock,
  bias: Tensor | null,
): Tensor | null {
  const {B, Sq, Sk, windowLeft, windowRight, hasQueryOffset, queryOffset} = problem;
  const {i0, rows, from, to} = block;
  const conditions: Tensor[] = [];
  const all = (ok: boolean, condition: () => Tensor): void => void (ok || conditions.push(condition()));
  const positions = (): Tensor => queryPositions(problem, inputs, block);

  const first = visibleKeys(problem, i0, queryOffset);
  const last = visibleKeys(problem, i0 + rows - 1, queryOffset);
  const lastFrom = i0 + rows - 1 + queryOffset - windowLeft;
  all(windowLeft < 0 || (!hasQueryOffset && lastFrom <= from), () =>
    tf.greaterEqual(keyPositions(block), tf.sub(positions(), tf.scalar(windowLeft, 'int32'))),
  );
  all(windowRight < 0 || (!hasQueryOffset && first.to >= to && last.to >= to), () =>
    tf.lessEqual(keyPositions(block), tf.add(positions(), tf.scalar(windowRight, 'int32'))),
  );
  all(!problem.hasKeyLengths, () => tf.less(keyPositions(block), tf.reshape(inputs.keyLengths!, [B, 1, 1, 1])));
  all(!problem.mask, () => cutScores(inputs.mask!, problem.mask!, block));
  all(!problem.hasSegments, () => {
    const query = tf.slice(tf.reshape(inputs.querySegments!, [B, 1, Sq, 1]), [0, 0, i0, 0], [B, 1, rows, 1]);
    const key = tf.slice(tf.reshape(inputs.keySegments!, [B, 1, 1, Sk]), [0, 0, 0, from], [B, 1, 1, to - from]);
    return tf.equal(query, key);
  });
  all(!bias, () => tf.logicalNot(isMinusInfinity(bias!)));
  return conditions.length === 0 ? null : conditions.reduce((a, b) => tf.logicalAnd(a, b));
}

/** Rows and keys of the block out of a tensor that broadcasts to the scores. */
function cutScores(x: Tensor, [b, h, i, j]: readonly number[], {i0, rows, from, to}: RowBlock): Tensor {
  return tf.slice(x, [0, 0, i === 1 ? 0 : i0, j === 1 ? 0 : from], [b, h, i === 1 ? 1 : rows, j === 1 ? 1 : to - from]);
}

/** i + offset of the block's rows: int32 [1 or B, 1, rows, 1]. */
function queryPositions(problem: AttentionProblem, inputs: AttentionInputs<Tensor>, {i0, rows}: RowBlock): Tensor {
  const {B, hasQueryOffset, queryOffset} = problem;
  if (!hasQueryOffset) return tf.reshape(range(i0 + queryOffset, i0 + queryOffset + rows), [1, 1, rows, 1]);
  return tf.add(tf.reshape(range(i0, i0 + rows), [1, 1, rows, 1]), tf.reshape(inputs.queryOffset!, [B, 1, 1, 1]));
}

/** j of the block's keys: int32 [1, 1, 1, keys]. */
function keyPositions({from, to}: RowBlock): Tensor {
  return tf.reshape(range(from, to), [1, 1, 1, to - from]);
}

function range(from: number, to: number): Tensor {
  return tf.range(from, to, 1, 'int32');
}
