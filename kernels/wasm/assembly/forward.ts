/**
 * Forward pass: FlashAttention-2 (Dao 2023, algorithm 1), 16 queries in the vector lanes. An item is a block of rows of one
 * head (or of the heads that share a key head); it leaves the output, and maximum and sum of each row for lse.
 */
import {applyOptions, dropout} from './options_query_lanes';
import {accumulate, loadPanel, pack, products, storePanel} from './panel';
import {Problem} from './problem';
import * as row from './rows';
import {PANEL_BYTES, exp, splat} from './vectors';

const NOTHING: f32 = -Infinity;

export function forward(p: Problem, scratch: usize, item: i32): void {
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
  const sums = scratch + p.atSums;
  const panelBytes = <usize>p.D << 6;
  const sumBytes = <usize>p.Dv << 6;
  row.prepareRows(p, rows, b, head0, first, count);
  for (let r = 0, n: usize = 0; r < count; r += 16, n++) {
    loadPanel(panels + n * panelBytes, row.entry(rows, row.Q, r), p.D, p.scale);
    memory.fill(sums + n * sumBytes, 0, sumBytes);
    startRows(p, rows, r);
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
      const scores = scratch + p.atScores;
      const own = rows + (<usize>r << 2);
      products(panels + n * panelBytes, kTile + <usize>((from - tile) * kRow), kRow, to - from, p.D, scores);
      applyOptions(p, own, b, from, to - from, scores, 0);
      softmaxStep(own, scores, to - from);
      if (p.dropBelow) dropout(p, own, b, from, to - from, scores);
      accumulate(scores, to - from, vTile + <usize>((from - tile) * vRow), vRow, p.Dv, sums + n * sumBytes, own + row.FACTOR);
    }
  }

  for (let r = 0, n: usize = 0; r < count; r += 16, n++) {
    const own = rows + (<usize>r << 2);
    divide(own, sums + n * sumBytes, p.Dv);
    const lanes = min(16, count - r);
    storePanel(sums + n * sumBytes, own + row.OUTPUT, lanes, p.Dv);
    for (let lane = 0; lane < lanes; lane++) {
      const head = load<i32>(row.entry(own, row.HEAD, lane));
      const at = <usize>((b * p.H + head) * p.Sq + load<i32>(row.entry(own, row.INDEX, lane))) << 2;
      store<f32>(p.lse + at, load<f32>(row.entry(own, row.MAX, lane)));
      store<f32>(p.lseLow + at, load<f32>(row.entry(own, row.SUM, lane)));
    }
  }
}

/** Maximum and sum before the first key: a sink is one logit that no value belongs to. */
function startRows(p: Problem, rows: usize, first: i32): void {
  for (let r = first; r < first + 16; r++) {
    const sink = p.sinks ? load<f32>(p.sinks + (<usize>load<i32>(row.entry(rows, row.HEAD, r)) << 2)) : NOTHING;
    store<f32>(row.entry(rows, row.MAX, r), sink);
    store<f32>(row.entry(rows, row.SUM, r), sink == NOTHING ? 0 : 1);
  }
}

/** Scores become exp(score − maximum); the rows' maxima and sums move on, FACTOR rescales what was summed before. */
function softmaxStep(rows: usize, scores: usize, count: i32): void {
  const end = scores + (<usize>count << 6);
  let m0 = v128.load(rows + row.MAX);
  let m1 = v128.load(rows + row.MAX, 16);
  let m2 = v128.load(rows + row.MAX, 32);
  let m3 = v128.load(rows + row.MAX, 48);
  // pmax passes a NaN score over, which is safe: its own exponential below stays NaN and reaches sum and output.
  for (let at = scores; at < end; at += PANEL_BYTES) {
    m0 = f32x4.pmax(m0, v128.load(at));
    m1 = f32x4.pmax(m1, v128.load(at, 16));
    m2 = f32x4.pmax(m2, v128.load(at, 32));
    m3 = f32x4.pmax(m3, v128.load(at, 48));
  }
  softmaxLanes(rows, m0, scores, end);
  softmaxLanes(rows + 16, m1, scores + 16, end);
  softmaxLanes(rows + 32, m2, scores + 32, end);
  softmaxLanes(rows + 48, m3, scores + 48, end);
}

function softmaxLanes(rows: usize, maximum: v128, scores: usize, end: usize): void {
  // Where no key was visible yet the maximum is −∞; 0 in its place keeps −∞ − (−∞) out, and every exponential is 0.
  const base = v128.andnot(maximum, f32x4.eq(maximum, splat(NOTHING)));
  const factor = exp(f32x4.sub(v128.load(rows + row.MAX), base));
  let sum = splat(0);
  for (let at = scores; at < end; at += PANEL_BYTES) {
    const weight = exp(f32x4.sub(v128.load(at), base));
    sum = f32x4.add(sum, weight);
    v128.store(at, weight);
  }
  v128.store(rows + row.MAX, maximum);
  v128.store(rows + row.FACTOR, factor);
  v128.store(rows + row.SUM, f32x4.add(f32x4.mul(v128.load(rows + row.SUM), factor), sum));
}

/** Output = sums / SUM; rows that saw nothing give 0. */
function divide(rows: usize, sums: usize, width: i32): void {
  for (let lane: usize = 0; lane < 64; lane += 16) {
    const sum = v128.load(rows + row.SUM + lane);
    const none = f32x4.eq(sum, splat(0));
    for (let at = sums + lane, end = at + (<usize>width << 6); at < end; at += PANEL_BYTES) {
      v128.store(at, v128.andnot(f32x4.div(v128.load(at), sum), none));
    }
  }
}
