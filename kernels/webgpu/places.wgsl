// Places: what a (query, key) pair does to its score, and whether the query may see the key. Shared by every kernel.
// Hidden places are marked by the bits of −∞, which a bias of −∞ means as well, and are selected away, never multiplied by 0.
const LOG2E = 1.4426950408889634;
const LOWEST = -3.4028234663852886e38;
const SMALLEST = 1.1754943508222875e-38;
const NEGATIVE_INFINITY_BITS = 0xff800000u;
const MAX_OFFSET = 1073741824;

// What one query row knows about itself; fields of absent options stay 0.
struct Row {
  b: u32,
  h: u32,
  i: u32,
  firstKey: i32,
  endKey: i32,
  position: i32,
  segment: i32,
  slope: f32,
  biasAt: u32,
  maskAt: u32,
}

fn is_negative_infinity(x: f32) -> bool {
  return bitcast<u32>(x) == NEGATIVE_INFINITY_BITS;
}

// A value the compiler cannot look through, so that rounding errors are not simplified away.
fn opaque_value(x: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(x) ^ u.zero);
}

fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// exp of a difference that may be −∞ or overflow below: there 0. A NaN stays NaN by its bits: some devices' exp2 drops it.
fn exp_difference(x: f32) -> f32 {
  return select(select(exp2(x * LOG2E), 0.0, x < -200.0), x, is_nan(x));
}

// exp of a score less its row's maximum, hidden scores included: 0 far below. What a NaN becomes is left to the device; `poison`
// has seen it.
fn exp_of_score(x: f32) -> f32 {
  return exp2(max(x, -200.0) * LOG2E);
}

// A row's scores pass through here, in whatever order: one multiply-add each, which no finite score and no −∞ leaves NaN or +∞.
fn add_poison(poison: f32, score: f32) -> f32 {
  return fma(score, SMALLEST, poison);
}

// The sum of a row, NaN if a score was NaN or +∞. By the bits: comparisons with NaN are not to be relied on.
fn poisoned(sum: f32, poison: f32) -> f32 {
  let isInfinite = bitcast<u32>(poison) == 0x7f800000u;
  return select(sum, poison + u.negativeInfinity, is_nan(poison) || isInfinite);
}

fn end_of_keys(b: u32) -> i32 {
  if (HAS_LENGTHS) { return clamp(load_small(u.lengthsAt + b), 0, i32(u.Sk)); }
  return i32(u.Sk);
}

fn query_offset(b: u32) -> i32 {
  if (HAS_OFFSETS) { return clamp(load_small(u.offsetsAt + b), -MAX_OFFSET, MAX_OFFSET); }
  return u.queryOffset;
}

fn first_key(position: i32, end: i32) -> i32 {
  return select(clamp(position - u.windowLeft, 0, end), 0, u.windowLeft < 0);
}

fn end_key(position: i32, end: i32) -> i32 {
  return select(clamp(position + u.windowRight + 1, 0, end), end, u.windowRight < 0);
}

// Dropout draws for four keys at a time: blocks of keys then start at multiples of four. What that adds is hidden.
fn whole_quad(key: i32) -> i32 {
  return select(key, key & ~3, HAS_DROPOUT);
}

// valid is false for the padding rows of the last tile: they see nothing.
fn row_at(b: u32, h: u32, i: u32, offset: i32, end: i32, valid: bool) -> Row {
  var row: Row;
  row.b = b;
  row.h = h;
  row.i = i;
  row.position = i32(i) + offset;
  row.firstKey = first_key(row.position, end);
  row.endKey = select(0, end_key(row.position, end), valid);
  if (HAS_SEGMENTS && valid) { row.segment = load_small(u.querySegmentsAt + b * u.Sq + i); }
  if (HAS_ALIBI) { row.slope = bitcast<f32>(load_small(u.slopesAt + b * u.slopesBatch + h)); }
  if (HAS_BIAS) { row.biasAt = b * u.biasBatch + h * u.biasHead + i * u.biasRow - u.biasStart; }
  if (HAS_MASK) { row.maskAt = b * u.maskBatch + h * u.maskHead + i * u.maskRow - u.maskStart; }
  return row;
}

// `|`, not `||`: a branch before each read would make the reads wait for one another.
fn is_outside(row: Row, j: i32) -> bool { return (j < row.firstKey) | (j >= row.endKey); }

// By what is asked place for place, also inside the range of keys that a row sees.
fn is_excluded(row: Row, j: i32) -> bool {
  var excluded = false;
  if (HAS_SEGMENTS) { excluded = load_small(u.keySegmentsAt + row.b * u.Sk + min(u32(j), u.Sk - 1u)) != row.segment; }
  if (HAS_MASK) { excluded = excluded | !load_mask(row.maskAt + u32(j) * u.maskKey); }
  return excluded;
}

fn is_hidden(row: Row, j: i32) -> bool { return is_outside(row, j) | is_excluded(row, j); }

// tanh without overflow, exact to float32 also near 0; NaN stays NaN.
fn bounded_tanh(x: f32) -> f32 {
  let size = abs(x);
  let square = x * x;
  let small = x * fma(square, fma(square, fma(square, fma(square, 0.021869489, -0.053968254), 0.13333334), -0.33333334), 1.0);
  let power = exp2(-2.0 * LOG2E * size);
  let large = (1.0 - power) / (1.0 + power);
  return select(select(large, -large, x < 0.0), small, size < 0.25);
}

// Softcap's tanh of a raw score, and what bias and ALiBi add after it.
fn changed_score(capped: f32, row: Row, j: i32) -> f32 {
  var s = capped;
  if (HAS_BIAS) {
    let bias = load_bias(row.biasAt + u32(j) * u.biasKey);
    s = select(s + bias, bias, is_negative_infinity(bias));
  }
  if (HAS_ALIBI) { s -= row.slope * abs(f32(row.position - j)); }
  return s;
}

// A score that is one bare product must not be fused with what is subtracted from it later: near float32's range its rounding is
// large. Longer sums end in an addition that is rounded.
fn whole_score(raw: f32) -> f32 {
  if (D == 1) { return opaque_value(raw); }
  return raw;
}

fn score_at(raw: f32, row: Row, j: i32) -> f32 {
  var s = whole_score(raw);
  if (HAS_SOFTCAP) { s = u.softcap * bounded_tanh(s / u.softcap); }
  return changed_score(s, row, j);
}

// A work item's tile and the rest of its number. Neighbouring items share a head's keys; but where attention is causal the tiles
// with the most work start first, those of all heads before any lighter one.
fn place_of(item: u32) -> vec2u {
  if (u.windowRight < 0) { return vec2u(item % u.tiles, item / u.tiles); }
  let others = u.items / u.tiles;
  return vec2u(item / others, item % others);
}

// The high and low word of a · b.
fn wide_product(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return vec2u((a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u), a * b);
}

// Philox-4x32-10 (Salmon et al. 2011), key (seed, 0), counter (j >> 2, i, h, b): words for the four keys around j.
fn random_words(row: Row, j: i32) -> vec4u {
  var counter = vec4u(u32(j) >> 2u, row.i, row.h, row.b);
  var key = vec2u(u.seed, 0u);
  for (var round = 0; round < 10; round++) {
    let a = wide_product(0xD2511F53u, counter.x);
    let c = wide_product(0xCD9E8D57u, counter.z);
    counter = vec4u(c.x ^ counter.y ^ key.x, c.y, a.x ^ counter.w ^ key.y, a.y);
    key += vec2u(0x9E3779B9u, 0xBB67AE85u);
  }
  return counter;
}

fn is_dropped(row: Row, j: i32) -> bool {
  return random_words(row, j)[u32(j) & 3u] < u.dropBelow;
}

// What forward read as float16 backward does: delta, of forward's output, must cancel against products with the same values.
fn as_seen(x: vec4f) -> vec4f {
  if (!SEEN_AS_HALVES) { return x; }
  return select(quantizeToF16(x), x, abs(x) > vec4f(65504.0));
}

fn multiply_add(a: vec4f, b: vec4f, sum: f32) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}
