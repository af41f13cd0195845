/**
 * Gradients of attention, recomputing scores from lse instead of keeping them: FlashAttention-2 (Dao 2023, §3.1, algorithm 2)
 * split in two passes, dq by query tiles and dk, dv by key tiles, so that nothing is accumulated across tiles in memory.
 *
 * p = exp(score − lse − lseLow); delta = rowsum(dO ∘ O); ds = p ∘ (dropped(dO·vᵀ) − delta + dLse).
 */
import {scoresStrides, stridesOf} from '../problem';
import type {AttentionProblem} from '../problem';
import {newScoreTile} from './forward';
import type {ForwardArrays} from './forward';
import {keptInRow} from './philox';
import {KEY_TILE, keyRange, lengthOf, loadQueries, QUERY_TILE, queryRange, scoreTiles} from './scores';
import type {AttentionArrays} from './scores';
import {addProduct, addTransposedProduct, loadTile, multiplyTransposed, padded} from './tile_products';

export interface BackwardArrays extends ForwardArrays {
  /** Gradient of the output, in its layout. */
  dOutput: ArrayLike<number>;
  /** Gradient of lse, [B, H, Sq]. */
  dLse: ArrayLike<number>;
}

/** delta − dLse of every query, [B, H, Sq]: what each probability's gradient is measured against. */
function rowDeltas(problem: AttentionProblem, {output, dOutput, dLse}: BackwardArrays): Float64Array {
  const {B, H, Sq, Dv} = problem;
  const at = stridesOf(problem).output;
  const deltas = new Float64Array(B * H * Sq);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < Sq; i++) {
        const base = b * at.batch + h * at.head + i * at.row;
        let delta = 0;
        for (let c = 0; c < Dv; c++) delta += dOutput[base + c] * output[base + c];
        const row = (b * H + h) * Sq + i;
        deltas[row] = delta - dLse[row];
      }
    }
  }
  return deltas;
}

/**
 * Makes the function that recomputes one tile of the backward pass.
 * @returns compute(b, h, i0, rows, j0, keys) → tiles that the next call overwrites: `kept`, the probabilities after
 *   dropout; `dScores`, the gradient of the scores before the soft cap's factor (that of the bias); `dProducts`, with it.
 */
function gradientTiles(problem: AttentionProblem, arrays: AttentionArrays, saved: BackwardArrays) {
  const {H, Hkv, Sq, D, Dv, dropout, seed, softcap} = problem;
  const strides = stridesOf(problem);
  const fillScores = scoreTiles(problem, arrays);
  const deltas = rowDeltas(problem, saved);
  const tile = newScoreTile(problem);
  const qTile = new Float64Array(QUERY_TILE * padded(D));
  const kTile = new Float64Array(KEY_TILE * padded(D));
  const vTile = new Float64Array(KEY_TILE * padded(Dv));
  const dOutputTile = new Float64Array(QUERY_TILE * padded(Dv));
  const kept = new Float64Array(QUERY_TILE * KEY_TILE);
  const dScores = new Float64Array(QUERY_TILE * KEY_TILE);
  const dProducts = softcap > 0 ? new Float64Array(QUERY_TILE * KEY_TILE) : dScores;

  const compute = (b: number, h: number, i0: number, rows: number, j0: number, keys: number): void => {
    const hkv = Math.floor((h * Hkv) / H);
    const width = padded(keys);
    const kBase = b * strides.k.batch + hkv * strides.k.head + j0 * strides.k.row;
    const vBase = b * strides.v.batch + hkv * strides.v.head + j0 * strides.v.row;
    const dBase = b * strides.output.batch + h * strides.output.head + i0 * strides.output.row;
    loadQueries(problem, arrays, b, h, i0, rows, qTile);
    loadTile(kTile, arrays.k, kBase, strides.k.row, keys, D, 1);
    loadTile(vTile, arrays.v, vBase, strides.v.row, keys, Dv, 1);
    loadTile(dOutputTile, saved.dOutput, dBase, strides.output.row, rows, Dv, 1);
    fillScores(b, h, i0, rows, j0, keys, qTile, kTile, tile);
    multiplyTransposed(dOutputTile, vTile, dScores, padded(rows), width, padded(Dv));

    for (let r = 0; r < padded(rows); r++) {
      const base = r * width;
      if (r >= rows) {
        kept.fill(0, base, base + width);
        dProducts.fill(0, base, base + width);
        continue;
      }
      const row = (b * H + h) * Sq + i0 + r;
      const keeps = dropout > 0 ? keptInRow(seed, dropout, b, h, i0 + r) : null;
      for (let c = base; c < base + width; c++) {
        const score = tile.scores[c];
        if (score === -Infinity) {
          kept[c] = dScores[c] = dProducts[c] = 0; // hidden: whatever dO·vᵀ is there
          continue;
        }
        const p = Math.exp(score - saved.lse[row] - saved.lseLow[row]);
        const factor = !keeps ? 1 : keeps(j0 + c - base) ? 1 / (1 - dropout) : 0;
        kept[c] = p * factor;
        dScores[c] = p * (dScores[c] * factor - deltas[row]);
        if (softcap > 0) dProducts[c] = dScores[c] * (1 - tile.capRatio![c] ** 2);
      }
    }
  };
  return {compute, kept, dScores, dProducts, qTile, kTile, dOutputTile};
}

/** Gradient of q, in q's layout. */
export function gradientOfQueries(
  problem: AttentionProblem,
  arrays: AttentionArrays,
  saved: BackwardArrays,
): Float32Array {
  const {B, H, Sq, D, scale} = problem;
  const at = stridesOf(problem).q;
  const tiles = gradientTiles(problem, arrays, saved);
  const accumulator = new Float64Array(QUERY_TILE * padded(D));
  const dq = new Float32Array(B * H * Sq * D);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i0 = 0; i0 < Sq; i0 += QUERY_TILE) {
        const rows = Math.min(QUERY_TILE, Sq - i0);
        const {from, to} = keyRange(problem, arrays, b, i0, rows);
        accumulator.fill(0);
        for (let j0 = from; j0 < to; j0 += KEY_TILE) {
          const keys = Math.min(KEY_TILE, to - j0);
          tiles.compute(b, h, i0, rows, j0, keys);
          addProduct(tiles.dProducts, tiles.kTile, accumulator, padded(rows), padded(D), padded(keys));
        }
        storeTile(dq, b * at.batch + h * at.head + i0 * at.row, at.row, accumulator, rows, D, scale);
      }
    }
  }
  return dq;
}

/** Gradients of k and v, in their layout; the query heads that share a key head are summed in order. */
export function gradientsOfKeysAndValues(
  problem: AttentionProblem,
  arrays: AttentionArrays,
  saved: BackwardArrays,
): {dk: Float32Array; dv: Float32Array} {
  const {B, H, Hkv, Sk, D, Dv} = problem;
  const {k: kAt, v: vAt} = stridesOf(problem);
  const group = H / Hkv;
  const tiles = gradientTiles(problem, arrays, saved);
  const dkTile = new Float64Array(KEY_TILE * padded(D));
  const dvTile = new Float64Array(KEY_TILE * padded(Dv));
  const dk = new Float32Array(B * Hkv * Sk * D);
  const dv = new Float32Array(B * Hkv * Sk * Dv);
  for (let b = 0; b < B; b++) {
    for (let hkv = 0; hkv < Hkv; hkv++) {
      for (let j0 = 0; j0 < Sk; j0 += KEY_TILE) {
        const keys = Math.max(0, Math.min(KEY_TILE, lengthOf(problem, arrays, b) - j0));
        const {from, to} = queryRange(problem, arrays, b, j0, keys);
        dkTile.fill(0);
        dvTile.fill(0);
        for (let h = hkv * group; h < (hkv + 1) * group; h++) {
          for (let i0 = from; i0 < to; i0 += QUERY_TILE) {
            const rows = Math.min(QUERY_TILE, to - i0);
            tiles.compute(b, h, i0, rows, j0, keys);
            // qTile is scaled already: dk = dProductsᵀ · (scale · q).
            addTransposedProduct(tiles.dProducts, tiles.qTile, dkTile, padded(keys), padded(D), padded(rows));
            addTransposedProduct(tiles.kept, tiles.dOutputTile, dvTile, padded(keys), padded(Dv), padded(rows));
          }
        }
        storeTile(dk, b * kAt.batch + hkv * kAt.head + j0 * kAt.row, kAt.row, dkTile, keys, D, 1);
        storeTile(dv, b * vAt.batch + hkv * vAt.head + j0 * vAt.row, vAt.row, dvTile, keys, Dv, 1);
      }
    }
  }
  return {dk, dv};
}

/** Gradient of the bias in its own rank-4 shape: broadcast axes are summed in the order b, h, i, j. */
export function gradientOfBias(
  problem: AttentionProblem,
  arrays: AttentionArrays,
  saved: BackwardArrays,
): Float32Array {
  const {B, H, Sq} = problem;
  const shape = problem.bias!;
  const at = scoresStrides(shape);
  const tiles = gradientTiles(problem, arrays, saved);
  const sums = new Float64Array(shape[0] * shape[1] * shape[2] * shape[3]);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i0 = 0; i0 < Sq; i0 += QUERY_TILE) {
        const rows = Math.min(QUERY_TILE, Sq - i0);
        const {from, to} = keyRange(problem, arrays, b, i0, rows);
        for (let j0 = from; j0 < to; j0 += KEY_TILE) {
          const keys = Math.min(KEY_TILE, to - j0);
          tiles.compute(b, h, i0, rows, j0, keys);
          for (let r = 0; r < rows; r++) {
            const base = b * at.batch + h * at.head + (i0 + r) * at.row + j0 * at.key;
            for (let c = 0; c < keys; c++) sums[base + c * at.key] += tiles.dScores[r * padded(keys) + c];
          }
        }
      }
    }
  }
  return Float32Array.from(sums);
}

/** Gradient of the sinks, [H]: the sink's own probability of each row, times what every score of the row pays. */
export function gradientOfSinks(
  problem: AttentionProblem,
  arrays: AttentionArrays,
  saved: BackwardArrays,
): Float32Array {
  const {B, H, Sq} = problem;
  const deltas = rowDeltas(problem, saved);
  const sums = new Float64Array(H);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const sink = arrays.sinks![h];
      if (sink === -Infinity) continue;
      for (let i = 0; i < Sq; i++) {
        const row = (b * H + h) * Sq + i;
        sums[h] -= Math.exp(sink - saved.lse[row] - saved.lseLow[row]) * deltas[row];
      }
    }
  }
  return Float32Array.from(sums);
}

function storeTile(
  target: Float32Array,
  base: number,
  rowStride: number,
  tile: Float64Array,
  rows: number,
  width: number,
  factor: number,
): void {
  const tileWidth = padded(width);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < width; c++) target[base + r * rowStride + c] = tile[r * tileWidth + c] * factor;
  }
}
