/**
 * The two products everything is made of, after FlashAttention-2 (Dao 2023, algorithm 1) with rows in the vector lanes:
 * 16 rows of one matrix stand transposed ("panel": [width][16]); the other matrix is read row by row, unpacked.
 *
 * V8 keeps 15 vectors in registers and issues a loop body's loads first: 8 sums + 6 loads + 1 temporary fill them exactly.
 */
import {PANEL_BYTES, high, highHalves, low, lowHalves, madd} from './vectors';

/** panel[c][lane] = factor · row(lane)[c]; the addresses of the 16 rows stand at `pointers`. */
export function loadPanel(panel: usize, pointers: usize, width: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let lane: usize = 0; lane < 16; lane += 4) {
    let a = load<usize>(pointers + lane * 4);
    let b = load<usize>(pointers + lane * 4, 4);
    let c = load<usize>(pointers + lane * 4, 8);
    let d = load<usize>(pointers + lane * 4, 12);
    let to = panel + lane * 4;
    let left = width;
    for (; left >= 4; left -= 4) {
      const va = f32x4.mul(v128.load(a), f);
      const vb = f32x4.mul(v128.load(b), f);
      const vc = f32x4.mul(v128.load(c), f);
      const vd = f32x4.mul(v128.load(d), f);
      const ac = low(va, vb);
      const bd = low(vc, vd);
      const ac2 = high(va, vb);
      const bd2 = high(vc, vd);
      v128.store(to, lowHalves(ac, bd));
      v128.store(to, highHalves(ac, bd), 64);
      v128.store(to, lowHalves(ac2, bd2), 128);
      v128.store(to, highHalves(ac2, bd2), 192);
      a += 16;
      b += 16;
      c += 16;
      d += 16;
      to += 4 * PANEL_BYTES;
    }
    for (; left > 0; left--) {
      store<f32>(to, load<f32>(a) * factor);
      store<f32>(to, load<f32>(b) * factor, 4);
      store<f32>(to, load<f32>(c) * factor, 8);
      store<f32>(to, load<f32>(d) * factor, 12);
      a += 4;
      b += 4;
      c += 4;
      d += 4;
      to += PANEL_BYTES;
    }
  }
}

/** row(lane)[c] = panel[c][lane] for the first `rows` lanes; the addresses of the rows stand at `pointers`. */
export function storePanel(panel: usize, pointers: usize, rows: i32, width: i32): void {
  for (let lane: i32 = 0; lane < rows; lane += 4) {
    const at = pointers + (<usize>lane << 2);
    let from = panel + (<usize>lane << 2);
    let left = width;
    let offset: usize = 0;
    if (rows - lane >= 4) {
      const a = load<usize>(at);
      const b = load<usize>(at, 4);
      const c = load<usize>(at, 8);
      const d = load<usize>(at, 12);
      for (; left >= 4; left -= 4) {
        const v0 = v128.load(from);
        const v1 = v128.load(from, 64);
        const v2 = v128.load(from, 128);
        const v3 = v128.load(from, 192);
        const ac = low(v0, v1);
        const bd = low(v2, v3);
        const ac2 = high(v0, v1);
        const bd2 = high(v2, v3);
        v128.store(a + offset, lowHalves(ac, bd));
        v128.store(b + offset, highHalves(ac, bd));
        v128.store(c + offset, lowHalves(ac2, bd2));
        v128.store(d + offset, highHalves(ac2, bd2));
        offset += 16;
        from += 4 * PANEL_BYTES;
      }
    }
    const lanes = min(4, rows - lane);
    for (; left > 0; left--) {
      for (let i = 0; i < lanes; i++) store<f32>(load<usize>(at + (<usize>i << 2)) + offset, load<f32>(from + (<usize>i << 2)));
      offset += 4;
      from += PANEL_BYTES;
    }
  }
}

/** Terms that are summed without a break: the rounding errors of a long sum grow with its length, those of parts with theirs. */
const SUM_LENGTH = 128;

/** out[row][16] = Σ_c panel[c][16] · rows[row][c]: scores of 16 queries with `count` keys, or the other way about. */
export function products(panel: usize, rows: usize, rowBytes: i32, count: i32, width: i32, out: usize): void {
  sumProducts(panel, rows, rowBytes, count, min(width, SUM_LENGTH), out, false);
  for (let c = SUM_LENGTH; c < width; c += SUM_LENGTH) {
    const length = min(width - c, SUM_LENGTH);
    sumProducts(panel + (<usize>c << 6), rows + (<usize>c << 2), rowBytes, count, length, out, true);
  }
}

/** out[row][16] = Σ_c panel[c][16] · rows[row][c], or += where `adds`. */
function sumProducts(
  panel: usize, rows: usize, rowBytes: i32, count: i32, width: i32, out: usize, adds: bool,
): void {
  const end = panel + (<usize>width << 6);
  let left = count;
  for (; left >= 2; left -= 2) {
    let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
    let b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    let from = panel;
    let first = rows;
    let second = rows + rowBytes;
    do {
      const q0 = v128.load(from);
      const q1 = v128.load(from, 16);
      const q2 = v128.load(from, 32);
      const q3 = v128.load(from, 48);
      const x = v128.load32_splat(first);
      const y = v128.load32_splat(second);
      a0 = madd(q0, x, a0);
      a1 = madd(q1, x, a1);
      a2 = madd(q2, x, a2);
      a3 = madd(q3, x, a3);
      b0 = madd(q0, y, b0);
      b1 = madd(q1, y, b1);
      b2 = madd(q2, y, b2);
      b3 = madd(q3, y, b3);
      from += PANEL_BYTES;
      first += 4;
      second += 4;
    } while (from < end);
    if (adds) {
      a0 = f32x4.add(v128.load(out), a0);
      a1 = f32x4.add(v128.load(out, 16), a1);
      a2 = f32x4.add(v128.load(out, 32), a2);
      a3 = f32x4.add(v128.load(out, 48), a3);
      b0 = f32x4.add(v128.load(out, 64), b0);
      b1 = f32x4.add(v128.load(out, 80), b1);
      b2 = f32x4.add(v128.load(out, 96), b2);
      b3 = f32x4.add(v128.load(out, 112), b3);
    }
    v128.store(out, a0);
    v128.store(out, a1, 16);
    v128.store(out, a2, 32);
    v128.store(out, a3, 48);
    v128.store(out, b0, 64);
    v128.store(out, b1, 80);
    v128.store(out, b2, 96);
    v128.store(out, b3, 112);
    out += 2 * PANEL_BYTES;
    rows += 2 * rowBytes;
  }
  if (left > 0) {
    let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
    let from = panel;
    do {
      const x = v128.load32_splat(rows);
      a0 = madd(v128.load(from), x, a0);
      a1 = madd(v128.load(from, 16), x, a1);
      a2 = madd(v128.load(from, 32), x, a2);
      a3 = madd(v128.load(from, 48), x, a3);
      from += PANEL_BYTES;
      rows += 4;
    } while (from < end);
    if (adds) {
      a0 = f32x4.add(v128.load(out), a0);
      a1 = f32x4.add(v128.load(out, 16), a1);
      a2 = f32x4.add(v128.load(out, 32), a2);
      a3 = f32x4.add(v128.load(out, 48), a3);
    }
    v128.store(out, a0);
    v128.store(out, a1, 16);
    v128.store(out, a2, 32);
    v128.store(out, a3, 48);
  }
}

/**
 * sums[c][16] = factors[16] · sums[c][16] + Σ_row weights[row][16] · rows[row][c]: probabilities times values.
 * A weight of 0 is multiplied too, so a NaN or an infinity among the rows reaches every lane.
 */
export function accumulate(
  weights: usize, count: i32, rows: usize, rowBytes: i32, width: i32, sums: usize, factors: usize,
): void {
  const end = weights + (<usize>count << 6);
  const f0 = v128.load(factors);
  const f1 = v128.load(factors, 16);
  const f2 = v128.load(factors, 32);
  const f3 = v128.load(factors, 48);
  let left = width;
  for (; left >= 2; left -= 2) {
    let a0 = f32x4.mul(v128.load(sums), f0);
    let a1 = f32x4.mul(v128.load(sums, 16), f1);
    let a2 = f32x4.mul(v128.load(sums, 32), f2);
    let a3 = f32x4.mul(v128.load(sums, 48), f3);
    let b0 = f32x4.mul(v128.load(sums, 64), f0);
    let b1 = f32x4.mul(v128.load(sums, 80), f1);
    let b2 = f32x4.mul(v128.load(sums, 96), f2);
    let b3 = f32x4.mul(v128.load(sums, 112), f3);
    let from = weights;
    let at = rows;
    do {
      const p0 = v128.load(from);
      const p1 = v128.load(from, 16);
      const p2 = v128.load(from, 32);
      const p3 = v128.load(from, 48);
      const x = v128.load32_splat(at);
      const y = v128.load32_splat(at, 4);
      a0 = madd(p0, x, a0);
      a1 = madd(p1, x, a1);
      a2 = madd(p2, x, a2);
      a3 = madd(p3, x, a3);
      b0 = madd(p0, y, b0);
      b1 = madd(p1, y, b1);
      b2 = madd(p2, y, b2);
      b3 = madd(p3, y, b3);
      from += PANEL_BYTES;
      at += rowBytes;
    } while (from < end);
    v128.store(sums, a0);
    v128.store(sums, a1, 16);
    v128.store(sums, a2, 32);
    v128.store(sums, a3, 48);
    v128.store(sums, b0, 64);
    v128.store(sums, b1, 80);
    v128.store(sums, b2, 96);
    v128.store(sums, b3, 112);
    sums += 2 * PANEL_BYTES;
    rows += 8;
  }
  if (left > 0) {
    let a0 = f32x4.mul(v128.load(sums), f0);
    let a1 = f32x4.mul(v128.load(sums, 16), f1);
    let a2 = f32x4.mul(v128.load(sums, 32), f2);
    let a3 = f32x4.mul(v128.load(sums, 48), f3);
    let from = weights;
    do {
      const x = v128.load32_splat(rows);
      a0 = madd(v128.load(from), x, a0);
      a1 = madd(v128.load(from, 16), x, a1);
      a2 = madd(v128.load(from, 32), x, a2);
      a3 = madd(v128.load(from, 48), x, a3);
      from += PANEL_BYTES;
      rows += rowBytes;
    } while (from < end);
    v128.store(sums, a0);
    v128.store(sums, a1, 16);
    v128.store(sums, a2, 32);
    v128.store(sums, a3, 48);
  }
}

/** Copies `count` rows of `width` floats together, times `factor`. */
export function pack(to: usize, from: usize, rowBytes: i32, count: i32, width: i32, factor: f32): void {
  const bytes = <usize>width << 2;
  const f = f32x4.splat(factor);
  for (let row = 0; row < count; row++) {
    let at: usize = 0;
    for (; at + 16 <= bytes; at += 16) v128.store(to + at, f32x4.mul(v128.load(from + at), f));
    for (; at < bytes; at += 4) store<f32>(to + at, load<f32>(from + at) * factor);
    to += bytes;
    from += rowBytes;
  }
}
