/**
 * How tfjs-node's implementation cuts [B · Hkv, length, ·]: some heads and some of the length at a time, against the whole of
 * the other side. The forward pass cuts the rows (the queries of the heads that share a key head), the backward pass the keys.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor3D, TensorInfo} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../../kernels/problem';

/** Most rows or keys of a block: the contract's 512. */
const MOST_ROWS = 512;
/** Scores of one block, at most: an op costs as much to call as 50 000 scores take, so blocks are large. */
const BLOCK_BYTES = 16 * 2 ** 20;
/** What a block keeps of the length, at the cost of heads: products of fewer rows are slow. */
const LEAST_ROWS = 128;

export interface Block {
  head: number;
  heads: number;
  first: number;
  rows: number;
}

/** What is cut into blocks: so many heads of `length` rows each, against `others`. */
export interface Cut {
  heads: number;
  /** No block spans heads of two groups of so many: all heads, or those of a batch. */
  group: number;
  length: number;
  others: number;
}

/** Whether a bias or mask differs from row to row, so that each block takes its part: then a block is of one batch. */
export const biasIsPerRow = ({bias, mask}: AttentionProblem): boolean =>
  [bias, mask].some(shape => shape !== null && shape[2] > 1);

/** Rows of queries against all keys. */
export function rowCut(problem: AttentionProblem): Cut {
  const {B, H, Hkv, Sq, Sk} = problem;
  const heads = B * Hkv;
  return {heads, group: biasIsPerRow(problem) ? Hkv : heads, length: (H / Hkv) * Sq, others: Sk};
}

/** Keys against all rows of queries. */
export function keyCut(problem: AttentionProblem): Cut {
  const {heads, group, length, others} = rowCut(problem);
  return {heads, group, length: others, others: length};
}

export function blockSize({group, length, others}: Cut): {heads: number; rows: number} {
  const fitting = Math.floor(BLOCK_BYTES / (4 * group * others));
  const rows = Math.min(length, MOST_ROWS, Math.max(LEAST_ROWS, fitting));
  return {heads: Math.max(1, Math.min(group, Math.floor(BLOCK_BYTES / (4 * rows * others)))), rows};
}

export function* blocksOf(all: Cut): Generator<Block> {
  const size = blockSize(all);
  for (let head = 0; head < all.heads;) {
    const heads = Math.min(size.heads, all.group - (head % all.group));
    for (let first = 0; first < all.length; first += size.rows) {
      yield {head, heads, first, rows: Math.min(size.rows, all.length - first)};
    }
    head += heads;
  }
}

function cut(x: Tensor3D, head: number, heads: number, from: number, to: number): Tensor3D {
  const isWhole = heads === x.shape[0] && to - from === x.shape[1];
  return isWhole ? x : tf.slice(x, [head, from, 0], [heads, to - from, x.shape[2]]);
}

export function rowsOf(x: Tensor3D, {head, heads, first, rows}: Block): Tensor3D {
  return cut(x, head, heads, first, first + rows);
}

/** All that the block's heads have. */
export function allOf(x: Tensor3D, {head, heads}: Block): Tensor3D {
  return cut(x, head, heads, 0, x.shape[1]);
}

/** What was computed block by block, joined again. */
export function joined(all: Cut, parts: Tensor[]): Tensor {
  const perHead = Math.ceil(all.length / blockSize(all).rows);
  const bands: Tensor[] = [];
  for (let n = 0; n < parts.length; n += perHead) bands.push(concat(parts.slice(n, n + perHead), 1));
  return concat(bands, 0);
}

export function concat(parts: Tensor[], axis: number): Tensor {
  return parts.length === 1 ? parts[0] : tf.concat(parts, axis);
}

/** q, k, v or what has their shape, as [B · Hkv, rows, width]; `heads` is H or Hkv. */
export function fold({B, Hkv, layout}: AttentionProblem, x: TensorInfo, heads: number): Tensor3D {
  const tensor = x as Tensor;
  const headsFirst = layout === 'BHSD' ? tensor : tf.transpose(tensor, [0, 2, 1, 3]);
  const [, , length, width] = headsFirst.shape as number[];
  return tf.reshape(headsFirst, [B * Hkv, (heads / Hkv) * length, width]);
}

export function unfold({B, layout}: AttentionProblem, x: Tensor, heads: number, length: number): Tensor {
  const width = x.shape[x.shape.length - 1];
  const headsFirst = tf.reshape(x, [B, heads, length, width]);
  return layout === 'BHSD' ? headsFirst : tf.transpose(headsFirst, [0, 2, 1, 3]);
}
