// FlashAttention-2, forward (Dao 2023, algorithm 1) with both products on subgroup matrices. A subgroup owns SUBGROUP_ROWS rows:
// their queries and output stay in matrices; scores and weights pass through workgroup memory, where LANES invocations own a row.
// The output is rescaled only when a maximum has grown by more than 2^8 (FlashAttention-4's lazy rescaling).
const GROWTH = 5.545177444479562; // 8 ln 2

fn run(item: u32, subgroup: u32) {
  let place = place_of(item);
  let tile = u.tiles - 1u - place.x;
  let split = place.y % u.splits;
  let keyHead = u.headStart + place.y / u.splits % u.heads;
  let b = u.batchStart + place.y / (u.splits * u.heads);

  let rows = u.Sq * u.group;
  let firstRow = tile * TILE_ROWS;
  let lastRow = min(firstRow + TILE_ROWS, rows) - 1u;
  let offset = query_offset(b);
  let lengthEnd = end_of_keys(b);
  let splitBegin = i32(split * u.splitKeys);
  let splitEnd = min(splitBegin + i32(u.splitKeys), lengthEnd);
  let firstPosition = i32(firstRow / u.group) + offset;
  let lastPosition = i32(lastRow / u.group) + offset;
  let begin = max(splitBegin, first_key(firstPosition, lengthEnd));
  let end = min(splitEnd, end_key(lastPosition, lengthEnd));
  // Between these, every row of the tile sees every key.
  let fullBegin = first_key(lastPosition, lengthEnd);
  let fullEnd = min(end, end_key(firstPosition, lengthEnd));
  let keyBase = b * u.kBatch + keyHead * u.kHead - u.kStart;
  let valueBase = b * u.vBatch + keyHead * u.vHead - u.vStart;

  let ownRow = invocation / LANES * ROWS;
  var info: array<Row, ROWS>;
  var queryBase: array<u32, ROWS>;
  var rowMax: RowValues;
  var rowSum: RowValues;
  var poison: RowValues;
  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = firstRow + ownRow + r;
    let h = keyHead * u.group + row % u.group;
    let i = row / u.group;
    info[r] = row_at(b, h, i, offset, lengthEnd, row < rows);
    info[r].endKey = min(info[r].endKey, end);
    queryBase[r] = b * u.qBatch + h * u.qHead + i * u.qRow - u.qStart;
    rowMax[r] = LOWEST;
  }

  // Queries reach their matrices through the memory of the weights.
  let subgroupRow = subgroup * SUBGROUP_ROWS;
  let weightAt = WEIGHT_AT + subgroupRow * WEIGHT_PITCH;
  let scoreAt = subgroupRow * SCORE_PITCH;
  var query: array<Left, PARTS * ROW_TILES * QK_TILES>;
  for (var c = 0u; c < QK_TILES; c++) { // unroll
    workgroupBarrier();
    for (var n = invocation; n < TILE_ROWS * (MATRIX_K / 4); n += THREADS) {
      let local = n / (MATRIX_K / 4);
      let row = firstRow + local;
      var x = vec4f(0.0);
      if (row < rows) {
        let base = b * u.qBatch + (keyHead * u.group + row % u.group) * u.qHead + row / u.group * u.qRow - u.qStart;
        x = load_q(base, c * (MATRIX_K / 4) + n % (MATRIX_K / 4));
      }
      if (larger(0.0, x) > LARGEST_HALF) { atomicOr(&events, QUERY_BEYOND); }
      store_without_beyond(WEIGHT_AT + local * WEIGHT_PITCH + n % (MATRIX_K / 4), WEIGHT_SIZE, x);
    }
    workgroupBarrier();
    for (var m = 0u; m < ROW_TILES; m++) { // unroll
      for (var part = 0u; part < PARTS; part++) { // unroll
        query[(part * ROW_TILES + m) * QK_TILES + c] = subgroupMatrixLoad<Left, row_major>(
          &halves, weightAt + part * WEIGHT_SIZE + m * MATRIX_M * WEIGHT_PITCH, WEIGHT_PITCH);
      }
    }
  }

  var output = array<Sum, ROW_TILES * VALUE_TILES>();
  var staged: Staged;
  read_keys(&staged, keyBase, begin, end);
  write_keys(&staged);
  var happened = workgroupUniformLoad(&events);
  let queryBeyond = (happened & QUERY_BEYOND) != 0u;

  for (var tileBegin = begin; tileBegin < end; tileBegin += KEYS) {
    let scoresBeyond = queryBeyond || (happened & KEY_BEYOND) != 0u;
    if (invocation == 0u) { atomicStore(&events, 0u); }
    if (PREFETCH) {
      read_values(&staged, valueBase, tileBegin, end);
      read_keys(&staged, keyBase, tileBegin + KEYS, end);
    }
    for (var n = 0u; n < KEY_TILES; n++) { // unroll
      // Zeros by name: a declaration in a loop that leaves them out kept the last turn's numbers on a device.
      var sums = array<Sum, ROW_TILES>();
      for (var c = 0u; c < QK_TILES; c++) { // unroll
        let keys = subgroupMatrixLoad<Right, col_major>(
          &halves, KEY_AT + n * MATRIX_N * KEY_PITCH + c * (MATRIX_K / 4), KEY_PITCH);
        for (var m = 0u; m < ROW_TILES; m++) { // unroll
          for (var part = 0u; part < PARTS; part++) { // unroll
            sums[m] = subgroupMatrixMultiplyAccumulate(query[(part * ROW_TILES + m) * QK_TILES + c], keys, sums[m]);
          }
        }
        if (PARTS == 2u) {
          let lowKeys = subgroupMatrixLoad<Right, col_major>(
            &halves, KEY_AT + (PARTS - 1u) * KEY_SIZE + n * MATRIX_N * KEY_PITCH + c * (MATRIX_K / 4), KEY_PITCH);
          for (var m = 0u; m < ROW_TILES; m++) { // unroll
            sums[m] = subgroupMatrixMultiplyAccumulate(query[m * QK_TILES + c], lowKeys, sums[m]);
          }
        }
      }
      for (var m = 0u; m < ROW_TILES; m++) { // unroll
        subgroupMatrixStore<row_major>(
          &scores, scoreAt + m * MATRIX_M * SCORE_PITCH + n * (MATRIX_N / 4), sums[m], SCORE_PITCH);
      }
    }
    workgroupBarrier();

    // Nobody reads the last tile's values or this tile's keys any more.
    if (!PREFETCH) {
      read_values(&staged, valueBase, tileBegin, end);
      read_keys(&staged, keyBase, tileBegin + KEYS, end);
    }
    write_values(&staged);
    write_keys(&staged);
    // In a loop that is not unrolled: it is rare, and what is unrolled here would push the matrices out of the registers.
    if (scoresBeyond) {
      for (var n = 0u; n < ROWS * OWN_VECTORS * 4u; n++) {
        let r = n / (4u * OWN_VECTORS);
        let vector = lane + n / 4u % OWN_VECTORS * LANES;
        let j = tileBegin + i32(4u * vector + n % 4u);
        let at = (ownRow + r) * SCORE_PITCH + vector;
        var x = u.scale * scores[at][n % 4u];
        if (j < end) { x += score_beyond(queryBase[r], keyBase + u32(j) * u.kRow); }
        scores[at][n % 4u] = x;
      }
    }
    let scale = select(u.scale, 1.0, scoresBeyond);
    let checked = HAS_SEGMENTS || HAS_MASK || tileBegin < fullBegin || tileBegin + KEYS > fullEnd;
    var own: array<vec4f, ROWS * OWN_VECTORS>;
    var newMax: RowValues = rowMax;
    for (var r = 0u; r < ROWS; r++) { // unroll
      for (var c = 0u; c < OWN_VECTORS; c++) { // unroll
        let vector = lane + c * LANES;
        let j = tileBegin + i32(4u * vector);
        var x = scale * scores[(ownRow + r) * SCORE_PITCH + vector];
        for (var e = 0u; e < 4u; e++) { // unroll
          var s = score_at(x[e], info[r], j + i32(e));
          if (checked) { s = select(s, u.negativeInfinity, is_hidden(info[r], j + i32(e))); }
          newMax[r] = max(newMax[r], s);
          x[e] = s;
        }
        own[r * OWN_VECTORS + c] = x;
      }
    }
    max_of_lanes(&newMax);
    for (var r = 0u; r < ROWS; r++) { // unroll
      var factor = 1.0;
      if (newMax[r] - rowMax[r] > GROWTH) {
        factor = exp_difference(rowMax[r] - newMax[r]);
        rowMax[r] = newMax[r];
        if (rowSum[r] != 0.0) { atomicOr(&events, RESCALE); }
        rowSum[r] *= factor;
      }
      if (lane == 0u) { rowFactors[ownRow + r] = factor; }
      for (var c = 0u; c < OWN_VECTORS; c++) { // unroll
        let vector = lane + c * LANES;
        var x = own[r * OWN_VECTORS + c];
        for (var e = 0u; e < 4u; e++) { // unroll
          let s = x[e];
          var p = exp_of_score(s - rowMax[r]);
          poison[r] = add_poison(poison[r], s);
          rowSum[r] += p;
          if (HAS_DROPOUT) { p = select(p, 0.0, is_dropped(info[r], tileBegin + i32(4u * vector + e))); }
          x[e] = p;
        }
        store_half(WEIGHT_AT + (ownRow + r) * WEIGHT_PITCH + vector, WEIGHT_SIZE, x);
      }
    }
    happened = workgroupUniformLoad(&events);

    let valuesBeyond = (happened & VALUE_BEYOND) != 0u;
    if (valuesBeyond || (happened & RESCALE) != 0u) {
      for (var n = 0u; n < VALUE_TILES; n++) { // unroll
        for (var m = 0u; m < ROW_TILES; m++) { // unroll
          subgroupMatrixStore<row_major>(
            &scores, scoreAt + m * MATRIX_M * SCORE_PITCH, output[m * VALUE_TILES + n], SCORE_PITCH);
        }
        workgroupBarrier();
        for (var at = invocation; at < TILE_ROWS * (MATRIX_N / 4); at += THREADS) {
          let row = at / (MATRIX_N / 4);
          let c = at % (MATRIX_N / 4);
          var x = rowFactors[row] * scores[row * SCORE_PITCH + c];
          if (valuesBeyond) { x += output_beyond(row, n * (MATRIX_N / 4) + c, valueBase, tileBegin, end); }
          scores[row * SCORE_PITCH + c] = x;
        }
        workgroupBarrier();
        for (var m = 0u; m < ROW_TILES; m++) { // unroll
          output[m * VALUE_TILES + n] = subgroupMatrixLoad<Sum, row_major>(
            &scores, scoreAt + m * MATRIX_M * SCORE_PITCH, SCORE_PITCH);
        }
        workgroupBarrier();
      }
    }
    for (var k = 0u; k < WEIGHT_TILES; k++) { // unroll
      var weights: array<Left, PARTS * ROW_TILES>;
      for (var m = 0u; m < ROW_TILES; m++) { // unroll
        for (var part = 0u; part < PARTS; part++) { // unroll
          weights[part * ROW_TILES + m] = subgroupMatrixLoad<Left, row_major>(
            &halves, weightAt + part * WEIGHT_SIZE + m * MATRIX_M * WEIGHT_PITCH + k * (MATRIX_K / 4), WEIGHT_PITCH);
        }
      }
      for (var n = 0u; n < VALUE_TILES; n++) { // unroll
        let values = subgroupMatrixLoad<Right, row_major>(
          &halves, VALUE_AT + k * MATRIX_K * VALUE_PITCH + n * (MATRIX_N / 4), VALUE_PITCH);
        for (var m = 0u; m < ROW_TILES; m++) { // unroll
          for (var part = 0u; part < PARTS; part++) { // unroll
            output[m * VALUE_TILES + n] = subgroupMatrixMultiplyAccumulate(
              weights[part * ROW_TILES + m], values, output[m * VALUE_TILES + n]);
          }
        }
        if (PARTS == 2u) {
          let lowValues = subgroupMatrixLoad<Right, row_major>(
            &halves, VALUE_AT + (PARTS - 1u) * VALUE_SIZE + k * MATRIX_K * VALUE_PITCH + n * (MATRIX_N / 4), VALUE_PITCH);
          for (var m = 0u; m < ROW_TILES; m++) { // unroll
            output[m * VALUE_TILES + n] = subgroupMatrixMultiplyAccumulate(
              weights[m], lowValues, output[m * VALUE_TILES + n]);
          }
        }
      }
    }
  }

  sum_of_lanes(&rowSum);
  sum_of_lanes(&poison);
  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = firstRow + ownRow + r;
    if (row < rows) {
      let lseAt = ((split * u.B + b) * u.H + info[r].h) * u.Sq + info[r].i;
      let sum = poisoned(rowSum[r], poison[r]);
      var factor = u.keepScale;
      if (SPLIT) {
        if (lane == 0u) { store_lse(lseAt, rowMax[r], sum); }
      } else {
        factor *= finish_row(lseAt, info[r].h, rowMax[r], sum, lane == 0u);
      }
      if (lane == 0u) { rowFactors[ownRow + r] = factor; }
    }
  }
  for (var n = 0u; n < VALUE_TILES; n++) { // unroll
    workgroupBarrier();
    for (var m = 0u; m < ROW_TILES; m++) { // unroll
      subgroupMatrixStore<row_major>(
        &scores, scoreAt + m * MATRIX_M * SCORE_PITCH, output[m * VALUE_TILES + n], SCORE_PITCH);
    }
    workgroupBarrier();
    for (var at = invocation; at < TILE_ROWS * (MATRIX_N / 4); at += THREADS) {
      let local = at / (MATRIX_N / 4);
      let row = firstRow + local;
      if (row < rows) {
        let h = keyHead * u.group + row % u.group;
        let base = split * u.oSplit + b * u.oBatch + h * u.oHead + row / u.group * u.oRow - u.oStart;
        let c = at % (MATRIX_N / 4);
        store_output(base, n * (MATRIX_N / 4) + c, rowFactors[local] * scores[local * SCORE_PITCH + c]);
      }
    }
  }
}
