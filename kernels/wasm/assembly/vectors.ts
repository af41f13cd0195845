/** Arithmetic on four lanes that every kernel shares. */

export const LANES = 16;
/** Bytes of one float32 for each lane of a panel. */
export const PANEL_BYTES: usize = 64;

@inline
export function splat(x: f32): v128 {
  return f32x4.splat(x);
}

/** a · b + c; fused where the build has relaxed SIMD. */
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/**
 * e^x for x ≤ 88: 2^n · 2^f with n = round(x · log2 e), 2^f by a polynomial of degree 5 on [−½, ½].
 * Relative error at most 2e-7 + 1e-7 · |x| (the rounding of x · log2 e); exactly 0 below x = −87.7, NaN stays NaN.
 */
@inline
export function exp(x: v128): v128 {
  // pmax keeps a NaN that stands first. At n = −127 the exponent field below is 0, which makes the result exactly 0.
  const t = f32x4.pmax(f32x4.mul(x, splat(1.4426950408889634)), splat(-127));
  // Adding 1.5 · 2^23 rounds to an integer; the extra 127 leaves n + 127, float32's exponent field, in the low bits.
  const rounded = f32x4.add(t, splat(12583039));
  const f = f32x4.sub(t, f32x4.sub(rounded, splat(12583039)));
  let y = splat(C5);
  y = madd(y, f, splat(C4));
  y = madd(y, f, splat(C3));
  y = madd(y, f, splat(C2));
  y = madd(y, f, splat(C1));
  y = madd(y, f, splat(1));
  return f32x4.mul(y, i32x4.shl(rounded, 23));
}

/** 2^f on [−½, ½], minimax with the constant term held at 1. */
const C1: f32 = 0.693146977598;
const C2: f32 = 0.240222420831;
const C3: f32 = 0.055507337445;
const C4: f32 = 0.009671512786;
const C5: f32 = 0.001326472725;

/** tanh x: an odd polynomial near 0, where 1 − 2 / (e^2x + 1) would lose digits. NaN stays NaN. */
@inline
export function tanh(x: v128): v128 {
  const magnitude = f32x4.abs(x);
  // e^2x − 1 over e^2x + 1 is 1 in float32 from x = 9.02 on; pmin keeps a NaN that stands first.
  const e = exp(f32x4.mul(f32x4.pmin(magnitude, splat(10)), splat(2)));
  const far = f32x4.sub(splat(1), f32x4.div(splat(2), f32x4.add(e, splat(1))));
  const sign = v128.and(x, splat(-0.0));
  const z = f32x4.mul(x, x);
  let y = splat(T11);
  y = madd(y, z, splat(T9));
  y = madd(y, z, splat(T7));
  y = madd(y, z, splat(T5));
  y = madd(y, z, splat(T3));
  const near = madd(f32x4.mul(y, z), x, x);
  return v128.bitselect(near, v128.or(far, sign), f32x4.lt(magnitude, splat(0.625)));
}

const T3: f32 = -0.333332819381;
const T5: f32 = 0.133314420839;
const T7: f32 = -0.053739704997;
const T9: f32 = 0.020639052664;
const T11: f32 = -0.005704946622;

@inline
export function horizontalSum(a: v128): f32 {
  return (f32x4.extract_lane(a, 0) + f32x4.extract_lane(a, 1)) + (f32x4.extract_lane(a, 2) + f32x4.extract_lane(a, 3));
}

/** Row r of the transposed 4×4 block, from the two interleavings of its rows. */
@inline
export function low(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 4, 1, 5);
}
@inline
export function high(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 2, 6, 3, 7);
}
@inline
export function lowHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 1, 4, 5);
}
@inline
export function highHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 2, 3, 6, 7);
}
