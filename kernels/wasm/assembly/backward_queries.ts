/**
 * Gradient of q: FlashAttention-2 (Dao 2023, algorithm 2) turned round, a block of queries in the lanes running over the
 * keys, so that dq is summed in one place and in one order. Scores are recomputed, p = exp(score − lse − lseLow).
 */
import {applyOptions, dropout} from './options_query_lanes';
import {accumulate, loadPanel, pack, products, storePanel} from './panel';
import {Problem} from './problem';
import * as row from './rows';
import {PANEL_BYTES, exp, horizontalSum, madd, splat} from './vectors';

/** delta[row] = Σ dO · O − dLse for the rows of one head of one batch element. */
export function delta(p: Problem, scratch: usize, item: i32): void {
  const offset = <usize>((item / p.H) * p.outputBatch + (item % p.H) * p.outputHead);
  for (let i = 0; i < p.Sq; i++) {
    const a = p.output + offset + <usize>(i * p.outputRow);
    const b = p.dOutput + offset + <usize>(i * p.outputRow);
    let sums = splat(0);
    let c: usize = 0;
    const end = <usize>p.Dv << 2;
    for (; c + 16 <= end; c += 16) sums = madd(v128.load(a + c), v128.load(b + c), sums);
    let sum = horizontalSum(sums);
    for (; c < end; c += 4) sum += load<f32>(a + c) * load<f32>(b + c);
    const at = <usize>(item * p.Sq + i) << 2;
    store<f32>(p.delta + at, sum - load<f32>(p.dLse + at));
  }
}

export function gradQueries(p: Problem, scratch: usize, item: i32): void {
  const groupRows = p.Sq * p.headsPerGroup;
  const blocks = (groupRows + p.blockRows - 1) / p.blockRows;
  const groups = p.H / p.headsPerGroup;
  const first = (item % blocks) * p.blockRows;
  const head0 = ((item / blocks) % groups) * p.headsPerGroup;
  const b = item / blocks / groups;
  const count = min(p.blockRows, groupRows - first);
  const keyHead = head0 / (p.H / p.Hkv);

  const rows = scratch + p.atRows;
  const panels = scratch + p.atQ;
  const dOutputs = scratch + p.atDOutput;
  const sums = scratch + p.atSums;
  const panelBytes = <usize>p.D << 6;
  const dOutputBytes = <usize>p.Dv << 6;
  row.prepareRows(p, rows, b, head0, first, count);
  row.prepareSaved(p, rows, b, count);
  row.fillOnes(rows);
  for (let r = 0, n: usize = 0; r < count; r += 16, n++) {
    loadPanel(panels + n * panelBytes, row.entry(rows, row.Q, r), p.D, p.scale);
    loadPanel(dOutputs + n * dOutputBytes, row.entry(rows, row.D_OUTPUT, r), p.Dv, 1);
    memory.fill(sums + n * panelBytes, 0, panelBytes);
  }

  const k = p.k + <usize>(b * p.kBatch + keyHead * p.kHead);
  const v = p.v + <usize>(b * p.vBatch + keyHead * p.vHead);
  const end = row.greatestTo(rows, 0, count);
  for (let tile = row.leastFrom(rows, 0, count); tile < end; tile += p.tileKeys) {
    const tileEnd = min(tile + p.tileKeys, end);
    let kTile = k + <usize>(tile * p.kRow);
    let vTile = v + <usize>(tile * p.vRow);
    let kRow = p.kRow;
    let vRow = p.vRow;
    if (p.packKeys) {
      pack(scratch + p.atK, kTile, kRow, tileEnd - tile, p.D, 1);
      pack(scratch + p.atV, vTile, vRow, tileEnd - tile, p.Dv, 1);
      kTile = scratch + p.atK;
      vTile = scratch + p.atV;
      kRow = p.D << 2;
      vRow = p.Dv << 2;
    }
    for (let r = 0, n: usize = 0; r < count; r += 16, n++) {
      const lanes = min(16, count - r);
      const from = max(tile, row.leastFrom(rows, r, lanes));
      const to = min(tileEnd, row.greatestTo(rows, r, lanes));
      if (from >= to) continue;
      const keys = to - from;
      const scores = scratch + p.atScores;
      const grads = scratch + p.atGrads;
      const cap = p.softcap > 0 ? scratch + p.atCap : 0;
      const own = rows + (<usize>r << 2);
      const kFrom = kTile + <usize>((from - tile) * kRow);
      products(panels + n * panelBytes, kFrom, kRow, keys, p.D, scores);
      products(dOutputs + n * dOutputBytes, vTile + <usize>((from - tile) * vRow), vRow, keys, p.Dv, grads);
      applyOptions(p, own, b, from, keys, scores, cap);
      if (p.dropBelow) dropout(p, own, b, from, keys, grads);
      scoreGradients(own, keys, scores, grads, cap);
      accumulate(grads, keys, kFrom, kRow, p.D, sums + n * panelBytes, rows + row.FACTOR);
    }
  }

  const scale = splat(p.scale);
  for (let r = 0, n: usize = 0; r < count; r += 16, n++) {
    const panel = sums + n * panelBytes;
    for (let at = panel; at < panel + panelBytes; at += 16) v128.store(at, f32x4.mul(v128.load(at), scale));
    const own = rows + (<usize>r << 2);
    for (let lane = 0; lane < 16; lane++) {
      const at = row.entry(own, row.Q, lane);
      store<usize>(at, load<usize>(at) - p.q + p.dq);
    }
    storePanel(panel, own + row.Q, min(16, count - r), p.D);
  }
}

/** dP → dS = p · (dP − delta) · cap', 0 where hidden. */
function scoreGradients(rows: usize, count: i32, scores: usize, grads: usize, cap: usize): void {
  const end = <usize>count << 6;
  for (let lane: usize = 0; lane < 64; lane += 16) {
    const lse = v128.load(rows + row.LSE + lane);
    const lseLow = v128.load(rows + row.LSE_LOW + lane);
    const deltas = v128.load(rows + row.DELTA + lane);
    for (let at = lane; at < end; at += PANEL_BYTES) {
      const score = v128.load(scores + at);
      const p = exp(f32x4.sub(f32x4.sub(score, lse), lseLow));
      let ds = f32x4.mul(p, f32x4.sub(v128.load(grads + at), deltas));
      if (cap) ds = f32x4.mul(ds, v128.load(cap + at));
      v128.store(grads + at, v128.andnot(ds, f32x4.eq(score, splat(-Infinity))));
    }
  }
}
