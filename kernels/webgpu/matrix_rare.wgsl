// What few tiles need: products with numbers beyond float16, and outputs rescaled to new maxima, in float32 through the memory of the
// scores.

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
fn output_beyond(row: u32, c: u32, valueBase: u32, begin: i32, first: i32, end: i32) -> vec4f {
  var sum = vec4f(0.0);
  for (var j = max(begin, first); j < min(begin + KEYS, end); j++) {
    let k = u32(j - begin);
    let x = load_v(valueBase + u32(j) * u.vRow, c);
    sum += select(vec4f(0.0), load_weights(row, k / 4u)[k % 4u] * x, is_beyond(x));
  }
  return sum;
}

// The output by its rows' factors, and what is beyond float16 of the values of the tile that begins at tileBegin.
fn rescale(
  output: ptr<function, array<Sum, ROW_TILES * VALUE_TILES>>,
  factors: ptr<function, RowValues>,
  subgroup: u32,
  valuesBeyond: bool,
  valueBase: u32,
  tileBegin: i32,
  firstSeen: i32,
  end: i32,
) {
  if (lane == 0u) {
    for (var r = 0u; r < ROWS; r++) { // unroll
      rowFactors[invocation % THREADS / LANES * ROWS + r] = (*factors)[r];
    }
  }
  for (var n = 0u; n < VALUE_TILES; n++) { // unroll
    for (var m = 0u; m < ROW_TILES; m++) { // unroll
      subgroupMatrixStore<row_major>(
        &scores[subgroup], m * MATRIX_M * SCORE_PITCH, (*output)[m * VALUE_TILES + n], SCORE_PITCH);
    }
    workgroupBarrier();
    for (var at = invocation % THREADS; at < TILE_ROWS * (MATRIX_N / 4); at += THREADS) {
      let row = at / (MATRIX_N / 4);
      let c = at % (MATRIX_N / 4);
      let place = row % SUBGROUP_ROWS * SCORE_PITCH + c;
      var x = rowFactors[row] * scores[row / SUBGROUP_ROWS][place];
      if (valuesBeyond) { x += output_beyond(row, n * (MATRIX_N / 4) + c, valueBase, tileBegin, firstSeen, end); }
      scores[row / SUBGROUP_ROWS][place] = x;
    }
    workgroupBarrier();
    for (var m = 0u; m < ROW_TILES; m++) { // unroll
      (*output)[m * VALUE_TILES + n] = subgroupMatrixLoad<Sum, row_major>(
        &scores[subgroup], m * MATRIX_M * SCORE_PITCH, SCORE_PITCH);
    }
    workgroupBarrier();
  }
}
