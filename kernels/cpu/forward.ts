/**
 * Forward attention in one pass over the keys: FlashAttention-2 (Dao 2023, §3.1, algorithm 1) in plain loops. Running
 * maximum and sum per query (online softmax, Milakov & Gimelshein 2018), output rescaled as the maximum grows and divided
 * once at the end. Arithmetic in float64, tensors in float32: the readable reference of the faster kernels.
 */
import {stridesOf} from '../problem';
import type {AttentionProblem} from '../problem';
import {keptInRow} from './philox';
import {KEY_TILE, keyRange, loadQueries, QUERY_TILE, scoreTiles} from './scores';
import type {AttentionArrays, ScoreTile} from './scores';
import {addProduct, loadTile, padded} from './tile_products';

export interface ForwardArrays {
  /** In the problem's layout, last dimension Dv. */
  output: Float32Array;
  /** [B, H, Sq]: log Σ exp(score), rounded to float32. */
  lse: Float32Array;
  /** [B, H, Sq]: what that rounding took away. */
  lseLow: Float32Array;
}

/** Attention of one call; scratch memory is a few tiles whatever the sizes. */
export function attentionForward(problem: AttentionProblem, arrays: AttentionArrays): ForwardArrays {
  const {B, H, Hkv, Sq, D, Dv, dropout, seed} = problem;
  const strides = stridesOf(problem);
  const result: ForwardArrays = {
    output: new Float32Array(B * H * Sq * Dv),
    lse: new Float32Array(B * H * Sq),
    lseLow: new Float32Array(B * H * Sq),
  };
  const {k, v} = arrays;
  const fillScores = scoreTiles(problem, arrays);
  const tiles = forwardTiles(problem);
  const {qTile, kTile, vTile, oTile: accumulator, scores, rowMax, rowSum} = tiles;

  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const hkv = Math.floor((h * Hkv) / H);
      for (let i0 = 0; i0 < Sq; i0 += QUERY_TILE) {
        const rows = Math.min(QUERY_TILE, Sq - i0);
        loadQueries(problem, arrays, b, h, i0, rows, qTile);
        accumulator.fill(0);
        // A sink is a logit that came before all keys: it opens the sum and adds nothing to the output.
        const sink = problem.hasSinks ? arrays.sinks![h] : -Infinity;
        rowMax.fill(sink);
        rowSum.fill(sink === -Infinity ? 0 : 1);

        const {from, to} = keyRange(problem, arrays, b, i0, rows);
        for (let j0 = from; j0 < to; j0 += KEY_TILE) {
          const keys = Math.min(KEY_TILE, to - j0);
          const width = padded(keys);
          loadTile(
            kTile,
            k,
            b * strides.k.batch + hkv * strides.k.head + j0 * strides.k.row,
            strides.k.row,
            keys,
            D,
            1,
          );
          loadTile(
            vTile,
            v,
            b * strides.v.batch + hkv * strides.v.head + j0 * strides.v.row,
            strides.v.row,
            keys,
            Dv,
            1,
          );
          fillScores(b, h, i0, rows, j0, keys, qTile, kTile, tiles);
          for (let r = 0; r < rows; r++) {
            updateRow(scores, r * width, keys, r, rowMax, rowSum, accumulator, padded(Dv));
            if (dropout > 0) dropRow(scores, r * width, keys, j0, keptInRow(seed, dropout, b, h, i0 + r), dropout);
          }
          addProduct(scores, vTile, accumulator, padded(rows), padded(Dv), width);
        }

        for (let r = 0; r < rows; r++) {
          writeRow(problem, result, b, h, i0 + r, accumulator, r * padded(Dv), rowMax[r], rowSum[r]);
        }
      }
    }
  }
  return result;
}

/** Room for one tile of scores. */
/** All that a call holds besides its inputs and results. */
export function forwardTiles(problem: AttentionProblem) {
  const {D, Dv} = problem;
  return {
    qTile: new Float64Array(QUERY_TILE * padded(D)),
    kTile: new Float64Array(KEY_TILE * padded(D)),
    vTile: new Float64Array(KEY_TILE * padded(Dv)),
    oTile: new Float64Array(QUERY_TILE * padded(Dv)),
    ...newScoreTile(problem),
    rowMax: new Float64Array(QUERY_TILE),
    rowSum: new Float64Array(QUERY_TILE),
  };
}

export function newScoreTile({softcap}: AttentionProblem): ScoreTile {
  const size = QUERY_TILE * KEY_TILE;
  return {scores: new Float64Array(size), capRatio: softcap > 0 ? new Float64Array(size) : null};
}

/** Turns a row of scores into exp(score − max), updating the row's maximum and sum and rescaling its accumulator. */
function updateRow(
  scores: Float64Array,
  base: number,
  keys: number,
  r: number,
  rowMax: Float64Array,
  rowSum: Float64Array,
  accumulator: Float64Array,
  width: number,
): void {
  const before = rowMax[r];
  let max = before;
  for (let c = base; c < base + keys; c++) max = Math.max(max, scores[c]); // Math.max keeps NaN
  if (max === -Infinity) {
    scores.fill(0, base, base + padded(keys)); // nothing visible yet, and −∞ − −∞ would be NaN
    return;
  }
  let sum = 0;
  for (let c = base; c < base + keys; c++) {
    const p = Math.exp(scores[c] - max);
    scores[c] = p;
    sum += p;
  }
  scores.fill(0, base + keys, base + padded(keys));
  rowMax[r] = max;
  if (max === before) {
    rowSum[r] += sum;
    return;
  }
  const rescale = Math.exp(before - max);
  rowSum[r] = rowSum[r] * rescale + sum;
  for (let c = r * width; c < (r + 1) * width; c++) accumulator[c] *= rescale;
}

/** Zeroes the dropped probabilities of a row and scales up the rest; the row's sum is already taken. */
export function dropRow(
  probabilities: Float64Array,
  base: number,
  keys: number,
  j0: number,
  keeps: (j: number) => boolean,
  dropout: number,
): void {
  for (let c = 0; c < keys; c++) {
    probabilities[base + c] = keeps(j0 + c) ? probabilities[base + c] / (1 - dropout) : 0;
  }
}

function writeRow(
  problem: AttentionProblem,
  {output, lse, lseLow}: ForwardArrays,
  b: number,
  h: number,
  i: number,
  accumulator: Float64Array,
  base: number,
  max: number,
  sum: number,
): void {
  const {H, Sq, Dv} = problem;
  const at = stridesOf(problem).output;
  const to = b * at.batch + h * at.head + i * at.row;
  const row = (b * H + h) * Sq + i;
  if (sum === 0) {
    lse[row] = -Infinity; // sees nothing: the output stays 0
    return;
  }
  for (let c = 0; c < Dv; c++) output[to + c] = accumulator[base + c] / sum;
  const logSum = Math.log(sum);
  lse[row] = max + logSum;
  lseLow[row] = Number.isFinite(lse[row]) ? max - lse[row] + logSum : 0; // in this order: max may be 3e38
}
