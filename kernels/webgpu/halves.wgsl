// Workgroup memory of the matrix kernel and how numbers get into it: as float16, or as pairs of float16 whose sum is the float32
// number to 22 bits (Markidis et al. 2018, section 5). What float16 cannot hold is held as 0 and marked, to be added in float32.

// Weights of the rows' keys, by subgroup, low parts after the high ones; all pitches are in vec4s. A subgroup's matrices lie at
// constant places of its own array: bounds are checked when compiling.
const WEIGHT_SIZE = SUBGROUP_ROWS * WEIGHT_PITCH;
var<workgroup> weights: array<array<vec4<half>, PARTS * WEIGHT_SIZE>, SUBGROUPS>;
// Scores of a tile, by row; where the output is rescaled or stored, columns of the output.
var<workgroup> scores: array<array<vec4f, SUBGROUP_ROWS * SCORE_PITCH>, SUBGROUPS>;
var<workgroup> rowFactors: array<f32, TILE_ROWS>;

// What one invocation met and all of the workgroup must act on.
var<workgroup> events: atomic<u32>;
const RESCALE = 1u;
const QUERY_BEYOND = 2u;
const KEY_BEYOND = 4u;
const VALUE_BEYOND = 8u;

const LARGEST_HALF = 65504.0;

// Beyond float16's range, infinities and NaN included.
fn is_beyond(x: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(bitcast<u32>(LARGEST_HALF));
}

// The high part is cut off by its bits: a difference from a rounded one is simplified to 0 by some compilers.
fn high_part(x: vec4f) -> vec4f {
  return bitcast<vec4f>(bitcast<vec4u>(x) & vec4u(0xffffe000u));
}

fn store_weights(subgroup: u32, at: u32, x: vec4f) {
  if (PARTS == 1u) {
    weights[subgroup][at] = to_half(x);
  } else {
    let high = high_part(x);
    weights[subgroup][at] = to_half(high);
    weights[subgroup][at + WEIGHT_SIZE] = to_half(x - high);
  }
}

// The larger of `largest` and the sizes of x; a NaN may be passed over, which float16 can hold.
fn larger(largest: f32, x: vec4f) -> f32 {
  return max(max(largest, max(abs(x.x), abs(x.y))), max(abs(x.z), abs(x.w)));
}

fn without_beyond(x: vec4f) -> vec4f { return select(x, vec4f(0.0), abs(x) > vec4f(LARGEST_HALF)); }

fn load_weights(row: u32, c: u32) -> vec4f {
  let at = row % SUBGROUP_ROWS * WEIGHT_PITCH + c;
  var x = vec4f(weights[row / SUBGROUP_ROWS][at]);
  if (PARTS == 2u) { x += vec4f(weights[row / SUBGROUP_ROWS][at + WEIGHT_SIZE]); }
  return x;
}
