/**
 * One tile of scores, as forward and backward both need it: products, soft cap, bias, ALiBi, then visibility. A hidden score
 * is −∞, whatever k held there: it is assigned, never computed.
 */
import {scoresStrides, stridesOf, visibleKeys} from '../problem';
import type {AttentionInputs, AttentionProblem} from '../problem';
import {loadTile, multiplyTransposed, padded} from './tile_products';

export type AttentionArrays = AttentionInputs<ArrayLike<number>>;

/** Queries and keys of a tile: two float64 score tiles and the operand tiles of D ≤ 128 stay within a 256 KiB L2 cache. */
export const QUERY_TILE = 32;
export const KEY_TILE = 32;

export interface ScoreTile {
  /** Scores, row-major with `padded(keys)` numbers a row; −∞ where hidden and in padded columns. */
  scores: Float64Array;
  /** With a soft cap: the capped product c·tanh(s/c) over c, for its derivative. */
  capRatio: Float64Array | null;
}

/**
 * The keys [from, to) that any of the queries [i0, i0 + rows) of batch b may see by window, causality and length. Masks,
 * segments and bias are not asked: they hide single places.
 */
export function keyRange(problem: AttentionProblem, arrays: AttentionArrays, b: number, i0: number, rows: number) {
  const offset = offsetOf(problem, arrays, b);
  const length = lengthOf(problem, arrays, b);
  const from = visibleKeys(problem, i0, offset).from;
  const to = Math.min(length, visibleKeys(problem, i0 + rows - 1, offset).to);
  return {from, to: Math.max(from, to)};
}

/** The queries [from, to) that may see any of the keys [j0, j0 + keys): the same bounds seen from the keys. */
export function queryRange(problem: AttentionProblem, arrays: AttentionArrays, b: number, j0: number, keys: number) {
  const {Sq, windowLeft, windowRight} = problem;
  const offset = offsetOf(problem, arrays, b);
  if (j0 >= lengthOf(problem, arrays, b)) return {from: 0, to: 0};
  const clamp = (i: number): number => Math.max(0, Math.min(Sq, i));
  const from = windowRight < 0 ? 0 : clamp(j0 - offset - windowRight);
  const to = windowLeft < 0 ? Sq : clamp(j0 + keys - 1 - offset + windowLeft + 1);
  return {from, to: Math.max(from, to)};
}

export function offsetOf(problem: AttentionProblem, arrays: AttentionArrays, b: number): number {
  return problem.hasQueryOffset ? arrays.queryOffset![b] : problem.queryOffset;
}

export function lengthOf(problem: AttentionProblem, arrays: AttentionArrays, b: number): number {
  return problem.hasKeyLengths ? Math.max(0, Math.min(problem.Sk, arrays.keyLengths![b])) : problem.Sk;
}

/**
 * Makes the function that fills a score tile.
 * @returns fill(b, h, i0, rows, j0, keys, qTile, kTile, tile), where qTile holds the scaled queries from i0 and kTile the
 *   keys from j0, both with `padded(D)` numbers a row; keys beyond the batch's length must not be asked for.
 */
export function scoreTiles(problem: AttentionProblem, arrays: AttentionArrays) {
  const {D, H, Sq, Sk, softcap} = problem;
  const bias = problem.bias && {at: scoresStrides(problem.bias), values: arrays.bias!};
  const mask = problem.mask && {at: scoresStrides(problem.mask), values: arrays.mask!};
  const slopes = problem.alibi === 'none' ? null : arrays.alibiSlopes!;
  const {querySegments, keySegments} = arrays;
  const depth = padded(D);

  return (
    b: number,
    h: number,
    i0: number,
    rows: number,
    j0: number,
    keys: number,
    qTile: Float64Array,
    kTile: Float64Array,
    {scores, capRatio}: ScoreTile,
  ): void => {
    // prettier-ignore
    const width = padded(keys);
    const offset = offsetOf(problem, arrays, b);
    const slope = slopes ? slopes[problem.alibi === 'perHead' ? h : b * H + h] : 0;
    multiplyTransposed(qTile, kTile, scores, padded(rows), width, depth);

    for (let r = 0; r < rows; r++) {
      const i = i0 + r;
      const row = r * width;
      if (softcap > 0) {
        for (let c = 0; c < keys; c++) {
          const ratio = Math.tanh(scores[row + c] / softcap);
          capRatio![row + c] = ratio;
          scores[row + c] = softcap * ratio;
        }
      }
      if (bias) {
        const base = b * bias.at.batch + h * bias.at.head + i * bias.at.row + j0 * bias.at.key;
        for (let c = 0; c < keys; c++) {
          const value = bias.values[base + c * bias.at.key];
          scores[row + c] = value === -Infinity ? -Infinity : scores[row + c] + value;
        }
      }
      if (slopes) for (let c = 0; c < keys; c++) scores[row + c] -= slope * Math.abs(i + offset - (j0 + c));
      if (mask) {
        const base = b * mask.at.batch + h * mask.at.head + i * mask.at.row + j0 * mask.at.key;
        for (let c = 0; c < keys; c++) if (!mask.values[base + c * mask.at.key]) scores[row + c] = -Infinity;
      }
      if (querySegments && keySegments) {
        const segment = querySegments[b * Sq + i];
        for (let c = 0; c < keys; c++) if (keySegments[b * Sk + j0 + c] !== segment) scores[row + c] = -Infinity;
      }
      // A score is a float32, as on every other backend: under a bias of −1e9 everywhere the row is uniform, and lse + lseLow
      // holds its maximum exactly.
      for (let c = row; c < row + keys; c++) scores[c] = Math.fround(scores[c]);
      const {from, to} = visibleKeys(problem, i, offset);
      if (from > j0) scores.fill(-Infinity, row, row + Math.min(from - j0, width));
      const end = Math.max(0, Math.min(to - j0, keys));
      if (end < width) scores.fill(-Infinity, row + end, row + width);
    }
  };
}

/** The scaled queries [i0, i0 + rows) of one head, as a padded tile. */
export function loadQueries(
  problem: AttentionProblem,
  arrays: AttentionArrays,
  b: number,
  h: number,
  i0: number,
  rows: number,
  tile: Float64Array,
): void {
  const {q} = stridesOf(problem);
  loadTile(tile, arrays.q, b * q.batch + h * q.head + i0 * q.row, q.row, rows, problem.D, problem.scale);
}
