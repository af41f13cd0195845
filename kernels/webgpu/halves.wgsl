// Workgroup memory of the matrix kernel and how numbers get into it: as float16, or as pairs of float16 whose sum is the float32
// number to 22 bits (Markidis et al. 2018, section 5). What float16 cannot hold is held as 0 and marked, to be added in float32.
const KEY_AT = 0u;
const KEY_SIZE = KEYS * KEY_PITCH;
const VALUE_AT = KEY_AT + PARTS * KEY_SIZE;
const VALUE_SIZE = KEYS * VALUE_PITCH;
const WEIGHT_AT = VALUE_AT + PARTS * VALUE_SIZE;
const WEIGHT_SIZE = TILE_ROWS * WEIGHT_PITCH;

// Tiles of keys and values, then the weights of the rows' keys; low parts follow the high ones. In vec4s, as are all pitches.
var<workgroup> halves: array<vec4<half>, WEIGHT_AT + PARTS * WEIGHT_SIZE>;
// Scores of a tile, by row; where the output is rescaled or stored, columns of the output.
var<workgroup> scores: array<vec4f, TILE_ROWS * SCORE_PITCH>;
var<workgroup> rowFactors: array<f32, TILE_ROWS>;

// What one invocation met and all of the workgroup must act on.
var<workgroup> events: atomic<u32>;
const RESCALE = 1u;
const QUERY_BEYOND = 2u;
const KEY_BEYOND = 4u;
const VALUE_BEYOND = 8u;

const LARGEST_HALF = 65504.0;

// Beyond float16's range, the infinities included.
fn is_beyond(x: vec4f) -> vec4<bool> {
  return abs(x) > vec4f(LARGEST_HALF);
}

// The high part is cut off by its bits: a difference from a rounded one is simplified to 0 by some compilers.
fn store_half(at: u32, size: u32, x: vec4f) {
  if (PARTS == 1u) {
    halves[at] = to_half(x);
  } else {
    let high = bitcast<vec4f>(bitcast<vec4u>(x) & vec4u(0xffffe000u));
    halves[at] = to_half(high);
    halves[at + size] = to_half(x - high);
  }
}

// The larger of `largest` and the sizes of x; a NaN may be passed over, which float16 can hold.
fn larger(largest: f32, x: vec4f) -> f32 {
  return max(max(largest, max(abs(x.x), abs(x.y))), max(abs(x.z), abs(x.w)));
}

fn store_without_beyond(at: u32, size: u32, x: vec4f) {
  store_half(at, size, select(x, vec4f(0.0), is_beyond(x)));
}

fn load_weights(row: u32, c: u32) -> vec4f {
  let at = WEIGHT_AT + row * WEIGHT_PITCH + c;
  var x = vec4f(halves[at]);
  if (PARTS == 2u) { x += vec4f(halves[at + WEIGHT_SIZE]); }
  return x;
}

// The part of a scaled score that the matrices lack: products with a factor beyond float16.
fn score_beyond(queryBase: u32, keyBase: u32) -> f32 {
  var sum = 0.0;
  for (var c = 0u; c < QK_VECTORS; c++) {
    let a = load_q(queryBase, c);
    let b = load_k(keyBase, c);
    let products = select(vec4f(0.0), u.scale * a * b, is_beyond(a) | is_beyond(b));
    sum += products.x + products.y + products.z + products.w;
  }
  return sum;
}

// The part of four columns of a row's output that the matrices lack: weighted values beyond float16.
fn output_beyond(row: u32, c: u32, valueBase: u32, begin: i32, end: i32) -> vec4f {
  var sum = vec4f(0.0);
  for (var j = begin; j < min(begin + KEYS, end); j++) {
    let k = u32(j - begin);
    let x = load_v(valueBase + u32(j) * u.vRow, c);
    sum += select(vec4f(0.0), load_weights(row, k / 4u)[k % 4u] * x, is_beyond(x));
  }
  return sum;
}
