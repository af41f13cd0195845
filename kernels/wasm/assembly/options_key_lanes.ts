/**
 * Options on a block of scores with keys in the lanes: scores[row][16], keys [j0, j0 + 16) of batch element b, `count` rows
 * from `rows` on. The same as options_query_lanes.ts, transposed; lanes beyond the last key become hidden.
 */
import {softcap} from './options_query_lanes';
import {philox, word0, word1, word2, word3} from './philox';
import {Problem} from './problem';
import * as row from './rows';
import {PANEL_BYTES, high, highHalves, low, lowHalves, splat} from './vectors';

const HIDDEN: f32 = -Infinity;

export function applyOptions(p: Problem, rows: usize, b: i32, j0: i32, count: i32, scores: usize, cap: usize): void {
  if (p.softcap > 0) softcap(p.softcap, count << 2, scores, cap);
  for (let r = 0; r < count; r++) {
    const own = rows + (<usize>r << 2);
    const at = scores + (<usize>r << 6);
    if (p.bias) addBias(p, own, j0, at);
    if (p.alibiSlopes) addAlibi(own, j0, at);
    if (load<i32>(own + row.FROM) > j0 || load<i32>(own + row.TO) < j0 + 16) hideOutside(own, j0, at);
    if (p.mask) hideMasked(p, own, j0, at);
    if (p.keySegments) hideOtherSegments(p, own, b, j0, at);
  }
}

@inline
function hide(at: usize, where: v128): void {
  v128.store(at, v128.bitselect(splat(HIDDEN), v128.load(at), where));
}

@inline
function keysFrom(j: i32): v128 {
  return i32x4.add(i32x4.splat(j), i32x4(0, 1, 2, 3));
}

/** Four 4-byte values of which `valid` are there to be read. */
@inline
function loadValid(at: usize, valid: i32): v128 {
  if (valid >= 4) return v128.load(at);
  let values = i32x4.splat(0);
  if (valid > 0) values = v128.load_lane<u32>(at, values, 0);
  if (valid > 1) values = v128.load_lane<u32>(at + 4, values, 1);
  if (valid > 2) values = v128.load_lane<u32>(at + 8, values, 2);
  return values;
}

function addBias(p: Problem, rows: usize, j0: i32, scores: usize): void {
  const at = load<usize>(rows + row.BIAS);
  const hidden = splat(HIDDEN);
  for (let n = 0; n < 16; n += 4) {
    const b = p.biasKey ? loadValid(at + (<usize>(j0 + n) << 2), p.Sk - j0 - n) : v128.load32_splat(at);
    const to = scores + (<usize>n << 2);
    v128.store(to, v128.bitselect(hidden, f32x4.add(v128.load(to), b), f32x4.eq(b, hidden)));
  }
}

function addAlibi(rows: usize, j0: i32, scores: usize): void {
  const position = v128.load32_splat(rows + row.POSITION);
  const slope = v128.load32_splat(rows + row.SLOPE);
  for (let n = 0; n < 16; n += 4) {
    const distance = f32x4.abs(f32x4.sub(position, f32x4.convert_i32x4_s(keysFrom(j0 + n))));
    const to = scores + (<usize>n << 2);
    v128.store(to, f32x4.sub(v128.load(to), f32x4.mul(slope, distance)));
  }
}

function hideOutside(rows: usize, j0: i32, scores: usize): void {
  const from = v128.load32_splat(rows + row.FROM);
  const to = v128.load32_splat(rows + row.TO);
  for (let n = 0; n < 16; n += 4) {
    const j = keysFrom(j0 + n);
    hide(scores + (<usize>n << 2), v128.or(i32x4.lt_s(j, from), i32x4.ge_s(j, to)));
  }
}

function hideMasked(p: Problem, rows: usize, j0: i32, scores: usize): void {
  const at = load<usize>(rows + row.MASK);
  if (!p.maskKey) {
    if (load<u8>(at)) return;
    for (let n: usize = 0; n < PANEL_BYTES; n += 16) v128.store(scores + n, splat(HIDDEN));
    return;
  }
  if (j0 + 16 > p.Sk) {
    for (let j = j0; j < p.Sk; j++) {
      if (!load<u8>(at + j)) store<f32>(scores + (<usize>(j - j0) << 2), HIDDEN);
    }
    return;
  }
  const off = i8x16.eq(v128.load(at + j0), i8x16.splat(0));
  const first = i16x8.extend_low_i8x16_s(off);
  const last = i16x8.extend_high_i8x16_s(off);
  hide(scores, i32x4.extend_low_i16x8_s(first));
  hide(scores + 16, i32x4.extend_high_i16x8_s(first));
  hide(scores + 32, i32x4.extend_low_i16x8_s(last));
  hide(scores + 48, i32x4.extend_high_i16x8_s(last));
}

function hideOtherSegments(p: Problem, rows: usize, b: i32, j0: i32, scores: usize): void {
  const own = v128.load32_splat(rows + row.SEGMENT);
  const segments = p.keySegments + (<usize>(b * p.Sk + j0) << 2);
  for (let n = 0; n < 16; n += 4) {
    const at = <usize>n << 2;
    hide(scores + at, i32x4.ne(own, loadValid(segments + at, p.Sk - j0 - n)));
  }
}

/** weights → weights · keep, or 0 where dropped; j0 is a multiple of 16. */
export function dropout(p: Problem, rows: usize, b: i32, j0: i32, count: i32, weights: usize): void {
  const threshold = i32x4.splat(p.dropBelow);
  const keep = splat(p.keep);
  const groups = keysFrom(j0 >> 2);
  for (let r = 0; r < count; r++) {
    const i = v128.load32_splat(row.entry(rows, row.INDEX, r));
    const head = v128.load32_splat(row.entry(rows, row.HEAD, r));
    philox(groups, i, head, i32x4.splat(b), p.seed);
    const at = weights + (<usize>r << 6);
    const ab = low(word0, word1);
    const cd = low(word2, word3);
    const ab2 = high(word0, word1);
    const cd2 = high(word2, word3);
    drop(at, lowHalves(ab, cd), threshold, keep);
    drop(at + 16, highHalves(ab, cd), threshold, keep);
    drop(at + 32, lowHalves(ab2, cd2), threshold, keep);
    drop(at + 48, highHalves(ab2, cd2), threshold, keep);
  }
}

@inline
function drop(at: usize, word: v128, threshold: v128, keep: v128): void {
  v128.store(at, v128.andnot(f32x4.mul(v128.load(at), keep), i32x4.lt_u(word, threshold)));
}
