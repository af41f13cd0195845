/** Windows for tests and benchmarks into the arithmetic the kernels use: a module of its own, which is not published. */
import {PANEL_BYTES, exp, madd, splat, tanh} from './vectors';

/** data[i] = e^data[i]; a multiple of 4 values. */
export function exponential(data: usize, count: i32): void {
  for (let end = data + (<usize>count << 2); data < end; data += 16) v128.store(data, exp(v128.load(data)));
}

export function hyperbolicTangent(data: usize, count: i32): void {
  for (let end = data + (<usize>count << 2); data < end; data += 16) v128.store(data, tanh(v128.load(data)));
}

/** `rounds` · 12 multiply-adds of four lanes on registers alone: what a core can do at most. Returns a sum to keep. */
export function peak(rounds: i32): f32 {
  const x = splat(0.999), y = splat(0.001);
  let a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
  for (let n = 0; n < rounds; n++) {
    a = madd(a, x, y);
    b = madd(b, x, y);
    c = madd(c, x, y);
    d = madd(d, x, y);
    e = madd(e, x, y);
    f = madd(f, x, y);
    g = madd(g, x, y);
    h = madd(h, x, y);
    i = madd(i, x, y);
    j = madd(j, x, y);
    k = madd(k, x, y);
    l = madd(l, x, y);
  }
  a = f32x4.add(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)), f32x4.add(f32x4.add(e, f), f32x4.add(g, h)));
  return f32x4.extract_lane(f32x4.add(a, f32x4.add(f32x4.add(i, j), f32x4.add(k, l))), 0);
}
