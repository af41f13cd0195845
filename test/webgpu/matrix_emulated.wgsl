// FOR TESTS ONLY: the subgroup matrices of kernels/webgpu/matrix_types.wgsl in plain loops, for devices that have neither them nor
// float16. Halves are float32 numbers rounded to float16; a subgroup is any SUBGROUP invocations in a row.
alias half = f32;
const SUBGROUP = SUBGROUP_ROWS * LANES / ROWS;
// Factors are read where they lie, but for the queries: their memory is written again. Of a sum, an invocation holds every
// SUBGROUP-th number.
const OWN_SUMS = MATRIX_M * MATRIX_N / SUBGROUP;
struct Left { subgroup: u32, at: u32, rowStep: u32, isQuery: bool }
struct Right { at: u32, rowStep: u32, columnStep: u32 }
struct Sum { numbers: array<f32, OWN_SUMS> }

// The kernel loads its queries first, and reads them after its next barrier.
const QUERIES = PARTS * ROW_TILES * QK_TILES;
const LEFT_SIZE = u32(MATRIX_M * MATRIX_K);
var<workgroup> queries: array<f32, THREADS / SUBGROUP * QUERIES * MATRIX_M * MATRIX_K>;
var<private> loaded: u32;

// quantizeToF16 makes 0 of what float16 holds as subnormal numbers.
fn to_half(x: vec4f) -> vec4<half> {
  return select(quantizeToF16(x), round(x * 16777216.0) / 16777216.0, abs(x) < vec4f(0.00006103515625));
}

fn weight_at(subgroup: u32, n: u32) -> f32 { return weights[subgroup][n / 4u][n % 4u]; }

fn load_Left_row_major_weights(subgroup: u32, at: u32, pitch: u32) -> Left {
  if (loaded >= QUERIES) { return Left(subgroup, 4u * at, 4u * pitch, false); }
  let copyAt = (invocation / SUBGROUP * QUERIES + loaded) * LEFT_SIZE;
  loaded++;
  for (var n = invocation % SUBGROUP; n < LEFT_SIZE; n += SUBGROUP) {
    queries[copyAt + n] = weight_at(subgroup, 4u * (at + n / MATRIX_K * pitch) + n % MATRIX_K);
  }
  return Left(subgroup, copyAt, MATRIX_K, true);
}

// Keys and values lie UNIT halves an element, as numbers or as bits.
const UNIT = select(4u, 8u, CONVERTED);
fn load_Right_row_major_halves(at: u32, pitch: u32) -> Right { return Right(UNIT * at, UNIT * pitch, 1u); }
fn load_Right_col_major_halves(at: u32, pitch: u32) -> Right { return Right(UNIT * at, 1u, UNIT * pitch); }
fn unpacked(bits: vec4u, n: u32) -> f32 { return unpack2x16float(bits[n / 2u % 4u])[n % 2u]; }

fn load_Sum_row_major_scores(subgroup: u32, at: u32, pitch: u32) -> Sum {
  var matrix: Sum;
  for (var n = 0u; n < OWN_SUMS; n++) {
    let place = invocation % SUBGROUP + n * SUBGROUP;
    let column = place % MATRIX_N;
    matrix.numbers[n] = scores[subgroup][at + place / MATRIX_N * pitch + column / 4u][column % 4u];
  }
  return matrix;
}

fn store_row_major_scores(subgroup: u32, at: u32, matrix: Sum, pitch: u32) {
  for (var n = 0u; n < OWN_SUMS; n++) {
    let place = invocation % SUBGROUP + n * SUBGROUP;
    let column = place % MATRIX_N;
    scores[subgroup][at + place / MATRIX_N * pitch + column / 4u][column % 4u] = matrix.numbers[n];
  }
}

fn subgroupMatrixMultiplyAccumulate(left: Left, right: Right, sum: Sum) -> Sum {
  var result = sum;
  for (var n = 0u; n < OWN_SUMS; n++) {
    let place = invocation % SUBGROUP + n * SUBGROUP;
    let row = left.at + place / MATRIX_N * left.rowStep;
    let column = right.at + place % MATRIX_N * right.columnStep;
    for (var k = 0u; k < MATRIX_K; k++) {
      var factor = 0.0;
      if (left.isQuery) { factor = queries[row + k]; } else { factor = weight_at(left.subgroup, row + k); }
      result.numbers[n] = fma(factor, half_at(column + k * right.rowStep), result.numbers[n]);
    }
  }
  return result;
}

var<workgroup> shuffled: array<f32, THREADS>;

fn shuffled_from(value: f32, source: u32) -> f32 {
  workgroupBarrier();
  shuffled[invocation] = value;
  workgroupBarrier();
  return shuffled[source];
}

fn subgroupShuffleXor(value: f32, mask: u32) -> f32 { return shuffled_from(value, invocation ^ mask); }
fn subgroupShuffle(value: f32, source: u32) -> f32 {
  return shuffled_from(value, invocation / SUBGROUP * SUBGROUP + source);
}
