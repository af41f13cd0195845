/**
 * Options on a block of scores with queries in the lanes: scores[key][16], keys [j0, j0 + count) of batch element b, the
 * 16 rows at `rows`. Hidden places become −∞ by selection, whatever stood there.
 */
import {Problem} from './problem';
import * as row from './rows';
import {philox, word0, word1, word2, word3} from './philox';
import {PANEL_BYTES, high, highHalves, low, lowHalves, splat, tanh} from './vectors';

const HIDDEN: f32 = -Infinity;

/** All options, in the contract's order; `cap`, where not 0, receives the derivative of the soft cap. */
export function applyOptions(p: Problem, rows: usize, b: i32, j0: i32, count: i32, scores: usize, cap: usize): void {
  if (p.softcap > 0) softcap(p.softcap, count << 2, scores, cap);
  if (p.bias) addBias(p, rows, j0, count, scores);
  if (p.alibiSlopes) addAlibi(rows, j0, count, scores);
  if (!everyRowSees(rows, j0, j0 + count)) hideOutside(rows, j0, count, scores);
  if (p.mask) hideMasked(p, rows, j0, count, scores);
  if (p.keySegments) hideOtherSegments(p, rows, b, j0, count, scores);
}

/** s → c · tanh(s / c) over `vectors` vectors; lanes do not matter. */
export function softcap(c: f32, vectors: i32, scores: usize, cap: usize): void {
  const inverse = splat(1 / c);
  const factor = splat(c);
  for (let n: usize = 0, end = <usize>vectors << 4; n < end; n += 16) {
    const t = tanh(f32x4.mul(v128.load(scores + n), inverse));
    v128.store(scores + n, f32x4.mul(t, factor));
    if (cap) v128.store(cap + n, f32x4.sub(splat(1), f32x4.mul(t, t)));
  }
}

/** Adds b; where b is −∞ the score becomes −∞ even if it was NaN. */
@inline
function biased(score: v128, b: v128): v128 {
  const hidden = splat(HIDDEN);
  return v128.bitselect(hidden, f32x4.add(score, b), f32x4.eq(b, hidden));
}

function addBias(p: Problem, rows: usize, j0: i32, count: i32, scores: usize): void {
  for (let lane: usize = 0; lane < 64; lane += 16) {
    const at = rows + row.BIAS + lane;
    let to = scores + lane;
    const skip = <usize>(j0 * p.biasKey);
    const r0 = load<usize>(at) + skip;
    const r1 = load<usize>(at, 4) + skip;
    const r2 = load<usize>(at, 8) + skip;
    const r3 = load<usize>(at, 12) + skip;
    let offset: usize = 0;
    let left = count;
    if (p.biasKey && p.biasRow) {
      for (; left >= 4; left -= 4) {
        const a = v128.load(r0 + offset);
        const b = v128.load(r1 + offset);
        const c = v128.load(r2 + offset);
        const d = v128.load(r3 + offset);
        const ab = low(a, b);
        const cd = low(c, d);
        const ab2 = high(a, b);
        const cd2 = high(c, d);
        v128.store(to, biased(v128.load(to), lowHalves(ab, cd)));
        v128.store(to, biased(v128.load(to, 64), highHalves(ab, cd)), 64);
        v128.store(to, biased(v128.load(to, 128), lowHalves(ab2, cd2)), 128);
        v128.store(to, biased(v128.load(to, 192), highHalves(ab2, cd2)), 192);
        to += 4 * PANEL_BYTES;
        offset += 16;
      }
    }
    for (; left > 0; left--) {
      let b = v128.load32_splat(r0 + offset);
      b = v128.load_lane<f32>(r1 + offset, b, 1);
      b = v128.load_lane<f32>(r2 + offset, b, 2);
      b = v128.load_lane<f32>(r3 + offset, b, 3);
      v128.store(to, biased(v128.load(to), b));
      to += PANEL_BYTES;
      offset += p.biasKey;
    }
  }
}

function addAlibi(rows: usize, j0: i32, count: i32, scores: usize): void {
  for (let lane: usize = 0; lane < 64; lane += 16) {
    const position = v128.load(rows + row.POSITION + lane);
    const slope = v128.load(rows + row.SLOPE + lane);
    let to = scores + lane;
    for (let j = j0; j < j0 + count; j++) {
      const distance = f32x4.abs(f32x4.sub(position, splat(<f32>j)));
      v128.store(to, f32x4.sub(v128.load(to), f32x4.mul(slope, distance)));
      to += PANEL_BYTES;
    }
  }
}

function everyRowSees(rows: usize, from: i32, to: i32): bool {
  for (let r = 0; r < 16; r++) {
    if (load<i32>(row.entry(rows, row.FROM, r)) > from || load<i32>(row.entry(rows, row.TO, r)) < to) return false;
  }
  return true;
}

function hideOutside(rows: usize, j0: i32, count: i32, scores: usize): void {
  const hidden = splat(HIDDEN);
  for (let lane: usize = 0; lane < 64; lane += 16) {
    const from = v128.load(rows + row.FROM + lane);
    const to = v128.load(rows + row.TO + lane);
    let at = scores + lane;
    for (let n = j0; n < j0 + count; n++) {
      const j = i32x4.splat(n);
      const outside = v128.or(i32x4.lt_s(j, from), i32x4.ge_s(j, to));
      v128.store(at, v128.bitselect(hidden, v128.load(at), outside));
      at += PANEL_BYTES;
    }
  }
}

/** The 4-byte lanes of byte group g of a 4×4 block of mask bytes (four rows of four keys): all ones where the byte is 0. */
@inline
function zeroBytes(bytes: v128): v128 {
  return i8x16.eq(bytes, i8x16.splat(0));
}

function hideMasked(p: Problem, rows: usize, j0: i32, count: i32, scores: usize): void {
  const hidden = splat(HIDDEN);
  for (let lane: usize = 0; lane < 64; lane += 16) {
    const at = rows + row.MASK + lane;
    const skip = <usize>(j0 * p.maskKey);
    const r0 = load<usize>(at) + skip;
    const r1 = load<usize>(at, 4) + skip;
    const r2 = load<usize>(at, 8) + skip;
    const r3 = load<usize>(at, 12) + skip;
    let to = scores + lane;
    let offset: usize = 0;
    let left = count;
    if (p.maskKey && p.maskRow) {
      for (; left >= 4; left -= 4) {
        let bytes = v128.load32_zero(r0 + offset);
        bytes = v128.load_lane<u32>(r1 + offset, bytes, 1);
        bytes = v128.load_lane<u32>(r2 + offset, bytes, 2);
        bytes = v128.load_lane<u32>(r3 + offset, bytes, 3);
        const off = zeroBytes(v128.shuffle<u8>(bytes, bytes, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        const first = i16x8.extend_low_i8x16_s(off);
        const last = i16x8.extend_high_i8x16_s(off);
        v128.store(to, v128.bitselect(hidden, v128.load(to), i32x4.extend_low_i16x8_s(first)));
        v128.store(to, v128.bitselect(hidden, v128.load(to, 64), i32x4.extend_high_i16x8_s(first)), 64);
        v128.store(to, v128.bitselect(hidden, v128.load(to, 128), i32x4.extend_low_i16x8_s(last)), 128);
        v128.store(to, v128.bitselect(hidden, v128.load(to, 192), i32x4.extend_high_i16x8_s(last)), 192);
        to += 4 * PANEL_BYTES;
        offset += 4;
      }
    }
    for (; left > 0; left--) {
      let bytes = i32x4.splat(<i32>load<u8>(r0 + offset));
      bytes = i32x4.replace_lane(bytes, 1, <i32>load<u8>(r1 + offset));
      bytes = i32x4.replace_lane(bytes, 2, <i32>load<u8>(r2 + offset));
      bytes = i32x4.replace_lane(bytes, 3, <i32>load<u8>(r3 + offset));
      v128.store(to, v128.bitselect(hidden, v128.load(to), i32x4.eq(bytes, i32x4.splat(0))));
      to += PANEL_BYTES;
      offset += p.maskKey;
    }
  }
}

function hideOtherSegments(p: Problem, rows: usize, b: i32, j0: i32, count: i32, scores: usize): void {
  const hidden = splat(HIDDEN);
  const segments = p.keySegments + (<usize>(b * p.Sk + j0) << 2);
  for (let lane: usize = 0; lane < 64; lane += 16) {
    const own = v128.load(rows + row.SEGMENT + lane);
    let to = scores + lane;
    for (let n: usize = 0; n < <usize>count; n++) {
      const other = i32x4.ne(own, v128.load32_splat(segments + (n << 2)));
      v128.store(to, v128.bitselect(hidden, v128.load(to), other));
      to += PANEL_BYTES;
    }
  }
}

/** weights → weights · keep, or 0 where dropped. */
export function dropout(p: Problem, rows: usize, b: i32, j0: i32, count: i32, weights: usize): void {
  const threshold = i32x4.splat(p.dropBelow);
  const keep = splat(p.keep);
  const end = j0 + count;
  for (let lane: usize = 0; lane < 64; lane += 16) {
    const i = v128.load(rows + row.INDEX + lane);
    const head = v128.load(rows + row.HEAD + lane);
    for (let group = j0 & ~3; group < end; group += 4) {
      philox(i32x4.splat(group >> 2), i, head, i32x4.splat(b), p.seed);
      const at = weights + lane + (<usize>(group - j0) << 6);
      if (group >= j0) drop(at, word0, threshold, keep);
      if (group + 1 >= j0 && group + 1 < end) drop(at + 64, word1, threshold, keep);
      if (group + 2 >= j0 && group + 2 < end) drop(at + 128, word2, threshold, keep);
      if (group + 3 >= j0 && group + 3 < end) drop(at + 192, word3, threshold, keep);
    }
  }
}

@inline
function drop(at: usize, word: v128, threshold: v128, keep: v128): void {
  v128.store(at, v128.andnot(f32x4.mul(v128.load(at), keep), i32x4.lt_u(word, threshold)));
}
