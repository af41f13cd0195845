/**
 * Forward pass of few queries over many keys, bound by reading K and V once: Flash-Decoding (Dao et al. 2023). The heads
 * that share a key head go together; keys are split at fixed places and `merge` joins what each split left.
 */
import {applyOptions, dropout} from './options_key_lanes';
import {Problem} from './problem';
import * as row from './rows';
import {exp, high, highHalves, horizontalSum, low, lowHalves, madd, splat} from './vectors';

const NOTHING: f32 = -Infinity;

/** Bytes a split leaves per row: its sums, maximum and sum of weights. */
@inline
function partialBytes(p: Problem): usize {
  return <usize>(p.Dv + 2) << 2;
}

export function decode(p: Problem, scratch: usize, item: i32): void {
  const split = item % p.splits;
  const keyHead = (item / p.splits) % p.Hkv;
  const b = item / p.splits / p.Hkv;
  const count = p.headsPerGroup * p.Sq;
  const rows = scratch + p.atRows;
  const queries = scratch + p.atQ;
  const sums = scratch + p.atSums;
  const scores = scratch + p.atScores;
  const width = <usize>p.D << 2;
  const sumBytes = <usize>p.Dv << 2;

  row.prepareRows(p, rows, b, keyHead * p.headsPerGroup, 0, count);
  const scale = splat(p.scale);
  for (let r = 0; r < count; r++) {
    const from = load<usize>(row.entry(rows, row.Q, r));
    const to = queries + <usize>r * width;
    let c: usize = 0;
    for (; c + 16 <= width; c += 16) v128.store(to + c, f32x4.mul(v128.load(from + c), scale));
    for (; c < width; c += 4) store<f32>(to + c, load<f32>(from + c) * p.scale);
    store<f32>(row.entry(rows, row.MAX, r), NOTHING);
    store<f32>(row.entry(rows, row.SUM, r), 0);
  }
  memory.fill(sums, 0, <usize>count * sumBytes);

  const k = p.k + <usize>(b * p.kBatch + keyHead * p.kHead);
  const v = p.v + <usize>(b * p.vBatch + keyHead * p.vHead);
  const first = split * p.splitKeys;
  const end = min(first + p.splitKeys, row.greatestTo(rows, 0, count));
  for (let tile = max(first, row.leastFrom(rows, 0, count) & ~15); tile < end; tile += p.tileKeys) {
    const keys = min(p.tileKeys, end - tile);
    const panelBytes = <usize>count << 6;
    for (let n = 0, at = scores; n < keys; n += 16, at += panelBytes) {
      const from = k + <usize>((tile + n) * p.kRow);
      const lanes = min(16, keys - n);
      let r = 0;
      for (; r + 4 <= count; r += 4) dotFour(queries + <usize>r * width, from, p.kRow, lanes, p.D, at + (<usize>r << 6));
      for (; r < count; r++) dotOne(queries + <usize>r * width, from, p.kRow, lanes, p.D, at + (<usize>r << 6));
      applyOptions(p, rows, b, tile + n, count, at, 0);
    }
    for (let r = 0; r < count; r++) {
      softmaxRow(row.entry(rows, 0, r), scores + (<usize>r << 6), panelBytes, keys, sums + <usize>r * sumBytes, p.Dv);
    }
    if (p.dropBelow) {
      for (let n = 0, at = scores; n < keys; n += 16, at += panelBytes) dropout(p, rows, b, tile + n, count, at);
    }
    const vTile = v + <usize>(tile * p.vRow);
    let r = 0;
    for (; r + 4 <= count; r += 4) {
      addFour(scores + (<usize>r << 6), panelBytes, keys, vTile, p.vRow, p.Dv, sums + <usize>r * sumBytes);
    }
    for (; r < count; r++) addOne(scores + (<usize>r << 6), panelBytes, keys, vTile, p.vRow, p.Dv, sums + <usize>r * sumBytes);
  }

  const partial = p.partial + <usize>(item * count) * partialBytes(p);
  for (let r = 0; r < count; r++) {
    const to = partial + <usize>r * partialBytes(p);
    memory.copy(to, sums + <usize>r * sumBytes, sumBytes);
    store<f32>(to + sumBytes, load<f32>(row.entry(rows, row.MAX, r)));
    store<f32>(to + sumBytes, load<f32>(row.entry(rows, row.SUM, r)), 4);
  }
}

/** Joins the splits of one key head of one batch element: output, and maximum and sum of each row. */
export function merge(p: Problem, scratch: usize, item: i32): void {
  const b = item / p.Hkv;
  const count = p.headsPerGroup * p.Sq;
  const rows = scratch + p.atRows;
  row.prepareRows(p, rows, b, (item % p.Hkv) * p.headsPerGroup, 0, count);
  const step = <usize>count * partialBytes(p);
  const width = <usize>p.Dv << 2;
  for (let r = 0; r < count; r++) {
    const head = load<i32>(row.entry(rows, row.HEAD, r));
    const sink = p.sinks ? load<f32>(p.sinks + (<usize>head << 2)) : NOTHING;
    const first = p.partial + <usize>(item * p.splits) * step + <usize>r * partialBytes(p);
    let maximum = sink;
    for (let n = 0, at = first + width; n < p.splits; n++, at += step) {
      const own = load<f32>(at);
      if (own > maximum) maximum = own;
    }
    const base: f32 = maximum == NOTHING ? 0 : maximum;
    let sum: f32 = sink == NOTHING ? 0 : exponential(sink - base);
    const output = load<usize>(row.entry(rows, row.OUTPUT, r));
    memory.fill(output, 0, width);
    for (let n = 0, at = first; n < p.splits; n++, at += step) {
      const factor = exponential(load<f32>(at + width) - base);
      sum += factor * load<f32>(at + width, 4);
      for (let c: usize = 0; c < width; c += 4) {
        store<f32>(output + c, load<f32>(output + c) + factor * load<f32>(at + c));
      }
    }
    for (let c: usize = 0; c < width; c += 4) store<f32>(output + c, sum == 0 ? 0 : load<f32>(output + c) / sum);
    const at = <usize>((b * p.H + head) * p.Sq + load<i32>(row.entry(rows, row.INDEX, r))) << 2;
    store<f32>(p.lse + at, maximum);
    store<f32>(p.lseLow + at, sum);
  }
}

function exponential(x: f32): f32 {
  return f32x4.extract_lane(exp(splat(x)), 0);
}

/** scores[0…keys) = q · rows, one query. */
function dotOne(q: usize, from: usize, rowBytes: i32, keys: i32, width: i32, scores: usize): void {
  const vectors = <usize>(width & ~3) << 2;
  const tail = <usize>width << 2;
  let n = 0;
  for (; n + 4 <= keys; n += 4) {
    const k0 = from;
    const k1 = k0 + rowBytes;
    const k2 = k1 + rowBytes;
    const k3 = k2 + rowBytes;
    let a = splat(0), b = a, c = a, d = a;
    for (let at: usize = 0; at < vectors; at += 16) {
      const x = v128.load(q + at);
      a = madd(x, v128.load(k0 + at), a);
      b = madd(x, v128.load(k1 + at), b);
      c = madd(x, v128.load(k2 + at), c);
      d = madd(x, v128.load(k3 + at), d);
    }
    let sums = sumsOf(a, b, c, d);
    for (let at = vectors; at < tail; at += 4) {
      let values = v128.load32_splat(k0 + at);
      values = v128.load_lane<f32>(k1 + at, values, 1);
      values = v128.load_lane<f32>(k2 + at, values, 2);
      values = v128.load_lane<f32>(k3 + at, values, 3);
      sums = madd(values, v128.load32_splat(q + at), sums);
    }
    v128.store(scores + (<usize>n << 2), sums);
    from = k3 + rowBytes;
  }
  for (; n < keys; n++) {
    let a = splat(0);
    for (let at: usize = 0; at < vectors; at += 16) a = madd(v128.load(q + at), v128.load(from + at), a);
    let sum = horizontalSum(a);
    for (let at = vectors; at < tail; at += 4) sum += load<f32>(q + at) * load<f32>(from + at);
    store<f32>(scores + (<usize>n << 2), sum);
    from += rowBytes;
  }
}

/** The sums of four vectors' lanes. */
@inline
function sumsOf(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(low(a, b), high(a, b));
  const cd = f32x4.add(low(c, d), high(c, d));
  return f32x4.add(lowHalves(ab, cd), highHalves(ab, cd));
}

/** The same for four queries, whose rows and scores stand one after the other; two keys at a time. */
function dotFour(q: usize, from: usize, rowBytes: i32, keys: i32, width: i32, scores: usize): void {
  const bytes = <usize>width << 2;
  if (width & 3) {
    for (let r: usize = 0; r < 4; r++) dotOne(q + r * bytes, from, rowBytes, keys, width, scores + (r << 6));
    return;
  }
  let n = 0;
  for (; n + 2 <= keys; n += 2) {
    const second = from + rowBytes;
    let a0 = splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (let at: usize = 0, own = q; at < bytes; at += 16, own += 16) {
      const q0 = v128.load(own);
      const q1 = v128.load(own + bytes);
      const q2 = v128.load(own + 2 * bytes);
      const q3 = v128.load(own + 3 * bytes);
      const x = v128.load(from + at);
      const y = v128.load(second + at);
      a0 = madd(q0, x, a0);
      a1 = madd(q1, x, a1);
      a2 = madd(q2, x, a2);
      a3 = madd(q3, x, a3);
      b0 = madd(q0, y, b0);
      b1 = madd(q1, y, b1);
      b2 = madd(q2, y, b2);
      b3 = madd(q3, y, b3);
    }
    // [a0 a1 a2 a3] and [b0 b1 b2 b3] interleaved: the pair of scores of each query lies together.
    const a = sumsOf(a0, a1, a2, a3);
    const b = sumsOf(b0, b1, b2, b3);
    const first = low(a, b);
    const last = high(a, b);
    const to = scores + (<usize>n << 2);
    v128.store_lane<u64>(to, first, 0);
    v128.store_lane<u64>(to + 64, first, 1);
    v128.store_lane<u64>(to + 128, last, 0);
    v128.store_lane<u64>(to + 192, last, 1);
    from = second + rowBytes;
  }
  if (n < keys) {
    for (let r: usize = 0; r < 4; r++) dotOne(q + r * bytes, from, rowBytes, 1, width, scores + (r << 6) + (<usize>n << 2));
  }
}

/** One row's scores become weights; maximum, sum and the sums of values move on. */
function softmaxRow(own: usize, scores: usize, panelBytes: usize, keys: i32, sums: usize, width: i32): void {
  const before = load<f32>(own + row.MAX);
  let maxima = splat(before);
  for (let n = 0, at = scores; n < keys; n += 16, at += panelBytes) {
    // Lanes beyond the last key hold −∞. A NaN is passed over, and comes back through its own exponential.
    for (let lane: usize = 0; lane < 64; lane += 16) maxima = f32x4.pmax(maxima, v128.load(at + lane));
  }
  const halves = f32x4.pmax(maxima, highHalves(maxima, maxima));
  const maximum = f32x4.extract_lane(f32x4.pmax(halves, v128.shuffle<f32>(halves, halves, 1, 1, 1, 1)), 0);
  const base = splat(maximum == NOTHING ? 0 : maximum);
  let weights = splat(0);
  for (let n = 0, at = scores; n < keys; n += 16, at += panelBytes) {
    for (let lane: usize = 0; lane < 64; lane += 16) {
      const weight = exp(f32x4.sub(v128.load(at + lane), base));
      weights = f32x4.add(weights, weight);
      v128.store(at + lane, weight);
    }
  }
  store<f32>(own + row.MAX, maximum);
  if (maximum == before) {
    store<f32>(own + row.SUM, load<f32>(own + row.SUM) + horizontalSum(weights));
    return;
  }
  const factor = exponential(before - f32x4.extract_lane(base, 0));
  store<f32>(own + row.SUM, load<f32>(own + row.SUM) * factor + horizontalSum(weights));
  const f = splat(factor);
  let c: usize = 0;
  const bytes = <usize>width << 2;
  for (; c + 16 <= bytes; c += 16) v128.store(sums + c, f32x4.mul(v128.load(sums + c), f));
  for (; c < bytes; c += 4) store<f32>(sums + c, load<f32>(sums + c) * factor);
}

/** sums += weights · rows, one query: 32 channels at a time stay in registers over all keys of the tile. */
function addOne(weights: usize, panelBytes: usize, keys: i32, from: usize, rowBytes: i32, width: i32, sums: usize): void {
  let left = width;
  for (; left >= 32; left -= 32) {
    let a = v128.load(sums), b = v128.load(sums, 16), c = v128.load(sums, 32), d = v128.load(sums, 48);
    let e = v128.load(sums, 64), f = v128.load(sums, 80), g = v128.load(sums, 96), h = v128.load(sums, 112);
    let at = from;
    let panel = weights;
    for (let n = 0; n < keys; n += 16, panel += panelBytes) {
      const stop = panel + (<usize>min(16, keys - n) << 2);
      for (let w = panel; w < stop; w += 4) {
        const x = v128.load32_splat(w);
        a = madd(x, v128.load(at), a);
        b = madd(x, v128.load(at, 16), b);
        c = madd(x, v128.load(at, 32), c);
        d = madd(x, v128.load(at, 48), d);
        e = madd(x, v128.load(at, 64), e);
        f = madd(x, v128.load(at, 80), f);
        g = madd(x, v128.load(at, 96), g);
        h = madd(x, v128.load(at, 112), h);
        at += rowBytes;
      }
    }
    v128.store(sums, a);
    v128.store(sums, b, 16);
    v128.store(sums, c, 32);
    v128.store(sums, d, 48);
    v128.store(sums, e, 64);
    v128.store(sums, f, 80);
    v128.store(sums, g, 96);
    v128.store(sums, h, 112);
    sums += 128;
    from += 128;
  }
  for (; left >= 4; left -= 4) {
    let a = v128.load(sums);
    let at = from;
    for (let n = 0; n < keys; n++) {
      a = madd(v128.load32_splat(weightAt(weights, panelBytes, n)), v128.load(at), a);
      at += rowBytes;
    }
    v128.store(sums, a);
    sums += 16;
    from += 16;
  }
  for (; left > 0; left--) {
    let a = load<f32>(sums);
    let at = from;
    for (let n = 0; n < keys; n++) {
      a += load<f32>(weightAt(weights, panelBytes, n)) * load<f32>(at);
      at += rowBytes;
    }
    store<f32>(sums, a);
    sums += 4;
    from += 4;
  }
}

@inline
function weightAt(weights: usize, panelBytes: usize, n: i32): usize {
  return weights + <usize>(n >> 4) * panelBytes + (<usize>(n & 15) << 2);
}

/** The same for four queries, eight channels at a time. */
function addFour(weights: usize, panelBytes: usize, keys: i32, from: usize, rowBytes: i32, width: i32, sums: usize): void {
  const bytes = <usize>width << 2;
  if (width & 7) {
    for (let r: usize = 0; r < 4; r++) addOne(weights + (r << 6), panelBytes, keys, from, rowBytes, width, sums + r * bytes);
    return;
  }
  for (let left = width; left > 0; left -= 8) {
    const s1 = sums + bytes, s2 = s1 + bytes, s3 = s2 + bytes;
    let a0 = v128.load(sums), a1 = v128.load(s1), a2 = v128.load(s2), a3 = v128.load(s3);
    let b0 = v128.load(sums, 16), b1 = v128.load(s1, 16), b2 = v128.load(s2, 16), b3 = v128.load(s3, 16);
    let at = from;
    let panel = weights;
    for (let n = 0; n < keys; n += 16, panel += panelBytes) {
      const stop = panel + (<usize>min(16, keys - n) << 2);
      for (let w = panel; w < stop; w += 4) {
        const x = v128.load(at);
        const y = v128.load(at, 16);
        const w0 = v128.load32_splat(w);
        const w1 = v128.load32_splat(w, 64);
        const w2 = v128.load32_splat(w, 128);
        const w3 = v128.load32_splat(w, 192);
        a0 = madd(w0, x, a0);
        a1 = madd(w1, x, a1);
        a2 = madd(w2, x, a2);
        a3 = madd(w3, x, a3);
        b0 = madd(w0, y, b0);
        b1 = madd(w1, y, b1);
        b2 = madd(w2, y, b2);
        b3 = madd(w3, y, b3);
        at += rowBytes;
      }
    }
    v128.store(sums, a0);
    v128.store(s1, a1);
    v128.store(s2, a2);
    v128.store(s3, a3);
    v128.store(sums, b0, 16);
    v128.store(s1, b1, 16);
    v128.store(s2, b2, 16);
    v128.store(s3, b3, 16);
    sums += 32;
    from += 32;
  }
}
