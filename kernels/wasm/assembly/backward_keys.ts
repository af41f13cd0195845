/**
 * Gradients of k and v, and of the bias: FlashAttention-2 (Dao 2023, algorithm 2), a block of keys in the lanes running over
 * the queries of every head that reads them, in one fixed order. Scores are recomputed from lse.
 */
import {applyOptions, dropout} from './options_key_lanes';
import {accumulate, loadPanel, pack, products, storePanel} from './panel';
import {Problem} from './problem';
import * as row from './rows';
import {exp, splat} from './vectors';

/** Keys of an item. */
const BLOCK: i32 = 64;

/** One item's place: a block of keys of one key head. Globals, since several functions walk over the same block. */
let batch: i32 = 0;
let firstKey: i32 = 0;
let keys: i32 = 0;

export function gradKeys(p: Problem, scratch: usize, item: i32): void {
  const blocks = (p.Sk + BLOCK - 1) / BLOCK;
  const keyHead = (item / blocks) % p.Hkv;
  const b = item / blocks / p.Hkv;
  const group = p.H / p.Hkv;
  startBlock(p, scratch, b, keyHead, (item % blocks) * BLOCK);
  const rows = scratch + p.atRows;
  const panels = <usize>((keys + 15) >> 4);
  memory.fill(scratch + p.atSums, 0, panels * (<usize>p.D << 6));
  memory.fill(scratch + p.atSums2, 0, panels * (<usize>p.Dv << 6));
  row.fillOnes(rows);

  const step = min(p.tileKeys, row.ROWS);
  for (let head = keyHead * group; head < (keyHead + 1) * group; head++) {
    for (let i = 0; i < p.Sq; i += step) {
      const count = min(step, p.Sq - i);
      if (!startTile(p, scratch, head, i, count)) continue;
      for (let n: usize = 0; n < panels; n++) {
        const first = firstSeeing(rows, firstKey + (<i32>n << 4), count);
        const seeing = lastSeeing(rows, firstKey + (<i32>n << 4), count) - first;
        if (seeing <= 0) continue;
        tileGradients(p, scratch, n, first, seeing, true);
        const scores = scratch + p.atScores;
        if (p.dropBelow) dropout(p, rows + (<usize>first << 2), b, firstKey + (<i32>n << 4), seeing, scores);
        const dOutput = scratch + p.atV + (<usize>(first * p.Dv) << 2);
        accumulate(scores, seeing, dOutput, p.Dv << 2, p.Dv, scratch + p.atSums2 + n * (<usize>p.Dv << 6), rows + row.FACTOR);
        const q = scratch + p.atK + (<usize>(first * p.D) << 2);
        accumulate(scratch + p.atGrads, seeing, q, p.D << 2, p.D, scratch + p.atSums + n * (<usize>p.D << 6), rows + row.FACTOR);
      }
    }
  }

  for (let n: usize = 0; n < panels; n++) {
    const at = n << 6;
    const lanes = min(16, keys - (<i32>n << 4));
    storePanel(scratch + p.atSums + n * (<usize>p.D << 6), rows + row.DK + at, lanes, p.D);
    storePanel(scratch + p.atSums2 + n * (<usize>p.Dv << 6), rows + row.DV + at, lanes, p.Dv);
  }
  // What stood in the lanes of keys beyond the length may be NaN.
  for (let n = max(0, row.keyLimit(p, b) - firstKey); n < keys; n++) {
    memory.fill(load<usize>(row.entry(rows, row.DK, n)), 0, <usize>p.D << 2);
    memory.fill(load<usize>(row.entry(rows, row.DV, n)), 0, <usize>p.Dv << 2);
  }
}

/** dbias for one batch element and head of its shape, and for one block of keys if it has a key axis, for all keys if not. */
export function gradBias(p: Problem, scratch: usize, item: i32): void {
  const keyBlocks = (p.Sk + BLOCK - 1) / BLOCK;
  const blocks = p.biasSk == 1 ? 1 : keyBlocks;
  const ownHead = (item / blocks) % p.biasH;
  const ownBatch = item / blocks / p.biasH;
  const target = p.dbias + (<usize>((ownBatch * p.biasH + ownHead) * p.biasSq * p.biasSk) << 2);
  const firstBlock = item % blocks;
  const lastBlock = p.biasSk == 1 ? keyBlocks : firstBlock + 1;
  const width = p.biasSk == 1 ? 1 : min(BLOCK, p.Sk - firstBlock * BLOCK);
  for (let i = 0; i < p.biasSq; i++) {
    memory.fill(target + (<usize>(i * p.biasSk + (p.biasSk == 1 ? 0 : firstBlock * BLOCK)) << 2), 0, <usize>width << 2);
  }
  const step = min(p.tileKeys, row.ROWS);
  const rows = scratch + p.atRows;
  for (let b = p.biasB == 1 ? 0 : ownBatch; b < (p.biasB == 1 ? p.B : ownBatch + 1); b++) {
    for (let head = p.biasH == 1 ? 0 : ownHead; head < (p.biasH == 1 ? p.H : ownHead + 1); head++) {
      for (let block = firstBlock; block < lastBlock; block++) {
        startBlock(p, scratch, b, head / (p.H / p.Hkv), block * BLOCK);
        for (let i = 0; i < p.Sq; i += step) {
          const count = min(step, p.Sq - i);
          if (!startTile(p, scratch, head, i, count)) continue;
          for (let n: usize = 0; n < <usize>((keys + 15) >> 4); n++) {
            const j = firstKey + (<i32>n << 4);
            const first = firstSeeing(rows, j, count);
            const seeing = lastSeeing(rows, j, count) - first;
            if (seeing <= 0) continue;
            tileGradients(p, scratch, n, first, seeing, false);
            addToBias(p, target, scratch + p.atGrads, i + first, seeing, j, min(16, p.Sk - j));
          }
        }
      }
    }
  }
}

/** Adds dS[count][16] of rows from i and keys from j to the gradient, along whichever axes it has. */
function addToBias(p: Problem, target: usize, grads: usize, i: i32, count: i32, j: i32, lanes: i32): void {
  for (let r = 0; r < count; r++) {
    const to = target + (<usize>((p.biasSq == 1 ? 0 : i + r) * p.biasSk) << 2);
    const from = grads + (<usize>r << 6);
    if (p.biasSk == 1) {
      let sum: f32 = 0;
      for (let n = 0; n < lanes; n++) sum += load<f32>(from + (<usize>n << 2));
      store<f32>(to, load<f32>(to) + sum);
      continue;
    }
    let n = 0;
    for (; n + 4 <= lanes; n += 4) {
      const at = to + (<usize>(j + n) << 2);
      v128.store(at, f32x4.add(v128.load(at), v128.load(from + (<usize>n << 2))));
    }
    for (; n < lanes; n++) {
      const at = to + (<usize>(j + n) << 2);
      store<f32>(at, load<f32>(at) + load<f32>(from + (<usize>n << 2)));
    }
  }
}

/** Puts the block's keys and values into the lanes. */
function startBlock(p: Problem, scratch: usize, b: i32, keyHead: i32, first: i32): void {
  batch = b;
  firstKey = first;
  keys = min(BLOCK, p.Sk - first);
  const rows = scratch + p.atRows;
  for (let n = 0; n < ((keys + 15) & ~15); n++) {
    const j = first + min(n, keys - 1);
    const kOffset = <usize>(b * p.kBatch + keyHead * p.kHead + j * p.kRow);
    const vOffset = <usize>(b * p.vBatch + keyHead * p.vHead + j * p.vRow);
    store<usize>(row.entry(rows, row.K, n), p.k + kOffset);
    store<usize>(row.entry(rows, row.V, n), p.v + vOffset);
    store<usize>(row.entry(rows, row.DK, n), p.dk + kOffset);
    store<usize>(row.entry(rows, row.DV, n), p.dv + vOffset);
  }
  for (let n = 0, panel: usize = 0; n < keys; n += 16, panel++) {
    loadPanel(scratch + p.atQ + panel * (<usize>p.D << 6), row.entry(rows, row.K, n), p.D, 1);
    loadPanel(scratch + p.atDOutput + panel * (<usize>p.Dv << 6), row.entry(rows, row.V, n), p.Dv, 1);
  }
}

/** Takes `count` queries from i on; false where none of them sees the block. */
function startTile(p: Problem, scratch: usize, head: i32, i: i32, count: i32): bool {
  const rows = scratch + p.atRows;
  row.prepareRows(p, rows, batch, head, i, count);
  if (row.greatestTo(rows, 0, count) <= firstKey || row.leastFrom(rows, 0, count) >= firstKey + keys) return false;
  row.prepareSaved(p, rows, batch, count);
  // Scaled like in the forward pass, and summed in its order: the scores are the same to the bit.
  pack(scratch + p.atK, load<usize>(rows + row.Q), p.qRow, count, p.D, p.scale);
  pack(scratch + p.atV, load<usize>(rows + row.D_OUTPUT), p.outputRow, count, p.Dv, 1);
  return true;
}

/** The rows that see any key of the panel from j on stand together: FROM and TO grow with the row. */
function firstSeeing(rows: usize, j: i32, count: i32): i32 {
  let r = 0;
  while (r < count && load<i32>(row.entry(rows, row.TO, r)) <= j) r++;
  return r;
}
function lastSeeing(rows: usize, j: i32, count: i32): i32 {
  let r = count;
  while (r > 0 && load<i32>(row.entry(rows, row.FROM, r - 1)) >= j + 16) r--;
  return r;
}

/** Panel n with `count` rows of the tile: p into the scores' place, dS into the gradients' place, 0 where hidden. */
function tileGradients(p: Problem, scratch: usize, n: usize, first: i32, count: i32, withCap: bool): void {
  const own = scratch + p.atRows + (<usize>first << 2);
  const scores = scratch + p.atScores;
  const grads = scratch + p.atGrads;
  const cap = p.softcap > 0 && withCap ? scratch + p.atCap : 0;
  const j = firstKey + (<i32>n << 4);
  const q = scratch + p.atK + (<usize>(first * p.D) << 2);
  const dOutput = scratch + p.atV + (<usize>(first * p.Dv) << 2);
  products(scratch + p.atQ + n * (<usize>p.D << 6), q, p.D << 2, count, p.D, scores);
  products(scratch + p.atDOutput + n * (<usize>p.Dv << 6), dOutput, p.Dv << 2, count, p.Dv, grads);
  applyOptions(p, own, batch, j, count, scores, cap);
  if (p.dropBelow) dropout(p, own, batch, j, count, grads);
  for (let r = 0; r < count; r++) {
    const lse = v128.load32_splat(row.entry(own, row.LSE, r));
    const lseLow = v128.load32_splat(row.entry(own, row.LSE_LOW, r));
    const deltas = v128.load32_splat(row.entry(own, row.DELTA, r));
    for (let at = <usize>r << 6, end = at + 64; at < end; at += 16) {
      const score = v128.load(scores + at);
      const hidden = f32x4.eq(score, splat(-Infinity));
      const weight = v128.andnot(exp(f32x4.sub(f32x4.sub(score, lse), lseLow)), hidden);
      let ds = f32x4.mul(weight, f32x4.sub(v128.load(grads + at), deltas));
      if (cap) ds = f32x4.mul(ds, v128.load(cap + at));
      v128.store(scores + at, weight);
      v128.store(grads + at, v128.andnot(ds, hidden));
    }
  }
}
