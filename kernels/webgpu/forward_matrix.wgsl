// FlashAttention-2, forward (Dao 2023, algorithm 1) with both products on subgroup matrices. A subgroup owns SUBGROUP_ROWS rows:
// their queries and output stay in matrices; scores and weights pass through workgroup memory, where LANES invocations own a row.
// The output is rescaled only when a maximum has grown by more than 2^8 (FlashAttention-4's lazy rescaling). What is rare is done
// outside the loop over the keys, which is left for it and entered again: inside it, it would slow every tile down.
const GROWTH = 5.545177444479562; // 8 ln 2

// What a tile of keys still lacks where the loop goes on.
const SCORES = 0u;
const WEIGHTS = 1u;
const VALUES = 2u;

// Of a key head.
fn key_tiles() -> u32 { return (u.Sk + KEYS - 1) / KEYS; }

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
  let firstSeen = max(splitBegin, first_key(firstPosition, lengthEnd));
  // Converted tiles begin at multiples of their size.
  let begin = select(firstSeen, firstSeen / KEYS * KEYS, CONVERTED);
  let end = min(splitEnd, end_key(lastPosition, lengthEnd));
  // Between these, every row of the tile sees every key.
  let fullBegin = first_key(lastPosition, lengthEnd);
  let fullEnd = min(end, end_key(firstPosition, lengthEnd));
  let keyBase = b * u.kBatch + keyHead * u.kHead - u.kStart;
  let valueBase = b * u.vBatch + keyHead * u.vHead - u.vStart;
  let headTiles = (b * u.Hkv + keyHead) * key_tiles();

  // By these, compilers see that places in workgroup memory are in range.
  let own = invocation % THREADS;
  let ownLane = own % LANES;
  let ownRow = own / LANES * ROWS;
  let ownSubgroup = ownRow / SUBGROUP_ROWS;
  let ownScoreAt = ownRow % SUBGROUP_ROWS * SCORE_PITCH;
  let ownWeightAt = ownRow % SUBGROUP_ROWS * WEIGHT_PITCH;
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
  var query: array<Left, PARTS * ROW_TILES * QK_TILES>;
  for (var c = 0u; c < QK_TILES; c++) { // unroll
    workgroupBarrier();
    for (var n = own; n < TILE_ROWS * (MATRIX_K / 4); n += THREADS) {
      let local = n / (MATRIX_K / 4);
      let row = firstRow + local;
      var x = vec4f(0.0);
      if (row < rows) {
        let base = b * u.qBatch + (keyHead * u.group + row % u.group) * u.qHead + row / u.group * u.qRow - u.qStart;
        x = load_q(base, c * (MATRIX_K / 4) + n % (MATRIX_K / 4));
      }
      if (larger(0.0, x) > LARGEST_HALF) { atomicOr(&events, QUERY_BEYOND); }
      store_weights(local / SUBGROUP_ROWS, local % SUBGROUP_ROWS * WEIGHT_PITCH + n % (MATRIX_K / 4), without_beyond(x));
    }
    workgroupBarrier();
    for (var m = 0u; m < ROW_TILES; m++) { // unroll
      for (var part = 0u; part < PARTS; part++) { // unroll
        query[(part * ROW_TILES + m) * QK_TILES + c] = subgroupMatrixLoad<Left, row_major>(
          &weights[subgroup], part * WEIGHT_SIZE + m * MATRIX_M * WEIGHT_PITCH, WEIGHT_PITCH);
      }
    }
  }

  var output = array<Sum, ROW_TILES * VALUE_TILES>();
  var staged: Staged;
  read_keys(&staged, keyBase, begin, end, headTiles + u32(begin) / KEYS);
  write_keys(&staged);
  var happened = workgroupUniformLoad(&events);
  let queryBeyond = (happened & QUERY_BEYOND) != 0u;

  var tileBegin = begin;
  var lacks = SCORES;
  var marks = 0u;
  var scoresBeyond = false;
  var valuesBeyond = false;
  var factors: RowValues;
  loop {
    for (; tileBegin < end; tileBegin += KEYS) {
      let keyTile = headTiles + u32(tileBegin) / KEYS;
      if (lacks == SCORES) {
        marks = marks_of(keyTile);
        scoresBeyond = queryBeyond || ((happened | marks) & KEY_BEYOND) != 0u;
        if (invocation == 0u) { atomicStore(&events, 0u); }
        if (PREFETCH) {
          read_values(&staged, valueBase, tileBegin, end, keyTile);
          read_keys(&staged, keyBase, tileBegin + KEYS, end, keyTile + 1u);
        }
        for (var n = 0u; n < KEY_TILES; n++) { // unroll
          // Zeros by name: a declaration in a loop that leaves them out kept the last turn's numbers on a device.
          var sums = array<Sum, ROW_TILES>();
          for (var c = 0u; c < QK_TILES; c++) { // unroll
            let keys = subgroupMatrixLoad<Right, col_major>(
              &halves, KEY_AT + n * KEY_ROW_STEP + c * KEY_COLUMN_STEP, KEY_PITCH);
            for (var m = 0u; m < ROW_TILES; m++) { // unroll
              for (var part = 0u; part < PARTS; part++) { // unroll
                sums[m] = subgroupMatrixMultiplyAccumulate(query[(part * ROW_TILES + m) * QK_TILES + c], keys, sums[m]);
              }
            }
            if (PARTS == 2u) {
              let lowKeys = subgroupMatrixLoad<Right, col_major>(
                &halves, KEY_AT + (PARTS - 1u) * KEY_SIZE + n * KEY_ROW_STEP + c * KEY_COLUMN_STEP, KEY_PITCH);
              for (var m = 0u; m < ROW_TILES; m++) { // unroll
                sums[m] = subgroupMatrixMultiplyAccumulate(query[m * QK_TILES + c], lowKeys, sums[m]);
              }
            }
          }
          for (var m = 0u; m < ROW_TILES; m++) { // unroll
            subgroupMatrixStore<row_major>(
              &scores[subgroup], m * MATRIX_M * SCORE_PITCH + n * (MATRIX_N / 4), sums[m], SCORE_PITCH);
          }
        }
        workgroupBarrier();

        // Nobody reads the last tile's values or this tile's keys any more.
        if (!PREFETCH) {
          read_values(&staged, valueBase, tileBegin, end, keyTile);
          read_keys(&staged, keyBase, tileBegin + KEYS, end, keyTile + 1u);
        }
        write_values(&staged);
        write_keys(&staged);
        if (scoresBeyond) {
          lacks = WEIGHTS;
          break;
        }
      }
      if (lacks != VALUES) {
        let scale = select(u.scale, 1.0, scoresBeyond);
        let checked = HAS_SEGMENTS || HAS_MASK || tileBegin < fullBegin || tileBegin + KEYS > fullEnd;
        var ownScores: array<vec4f, ROWS * OWN_VECTORS>;
        for (var r = 0u; r < ROWS; r++) { // unroll
          for (var c = 0u; c < OWN_VECTORS; c++) { // unroll
            let vector = ownLane + c * LANES;
            let j = tileBegin + i32(4u * vector);
            var x = scale * scores[ownSubgroup][ownScoreAt + r * SCORE_PITCH + vector];
            for (var e = 0u; e < 4u; e++) { // unroll
              x[e] = score_at(x[e], info[r], j + i32(e));
            }
            ownScores[r * OWN_VECTORS + c] = x;
          }
        }
        if (checked) {
          for (var r = 0u; r < ROWS; r++) { // unroll
            for (var c = 0u; c < OWN_VECTORS; c++) { // unroll
              let j = tileBegin + i32(4u * (ownLane + c * LANES));
              for (var e = 0u; e < 4u; e++) { // unroll
                let s = ownScores[r * OWN_VECTORS + c][e];
                ownScores[r * OWN_VECTORS + c][e] = select(s, u.negativeInfinity, is_hidden(info[r], j + i32(e)));
              }
            }
          }
        }
        var newMax: RowValues = rowMax;
        for (var r = 0u; r < ROWS; r++) { // unroll
          for (var c = 0u; c < OWN_VECTORS; c++) { // unroll
            let x = ownScores[r * OWN_VECTORS + c];
            newMax[r] = max(newMax[r], max(max(x.x, x.y), max(x.z, x.w)));
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
          factors[r] = factor;
          for (var c = 0u; c < OWN_VECTORS; c++) { // unroll
            let vector = ownLane + c * LANES;
            var x = ownScores[r * OWN_VECTORS + c];
            for (var e = 0u; e < 4u; e++) { // unroll
              let s = x[e];
              var p = exp_of_score(s - rowMax[r]);
              poison[r] = add_poison(poison[r], s);
              rowSum[r] += p;
              if (HAS_DROPOUT) { p = select(p, 0.0, is_dropped(info[r], tileBegin + i32(4u * vector + e))); }
              x[e] = p;
            }
            let at = ownWeightAt + r * WEIGHT_PITCH + vector;
            if (PARTS == 1u) {
              weights[ownSubgroup][at] = to_half(x);
            } else {
              let high = high_part(x);
              weights[ownSubgroup][at] = to_half(high);
              weights[ownSubgroup][at + (PARTS - 1u) * WEIGHT_SIZE] = to_half(x - high);
            }
          }
        }
        happened = workgroupUniformLoad(&events);

        valuesBeyond = ((happened | marks) & VALUE_BEYOND) != 0u;
        if (valuesBeyond || (happened & RESCALE) != 0u) {
          lacks = VALUES;
          break;
        }
      }
      lacks = SCORES;
      for (var k = 0u; k < WEIGHT_TILES; k++) { // unroll
        var weightMatrices: array<Left, PARTS * ROW_TILES>;
        for (var m = 0u; m < ROW_TILES; m++) { // unroll
          for (var part = 0u; part < PARTS; part++) { // unroll
            weightMatrices[part * ROW_TILES + m] = subgroupMatrixLoad<Left, row_major>(
              &weights[subgroup], part * WEIGHT_SIZE + m * MATRIX_M * WEIGHT_PITCH + k * (MATRIX_K / 4), WEIGHT_PITCH);
          }
        }
        for (var n = 0u; n < VALUE_TILES; n++) { // unroll
          let values = subgroupMatrixLoad<Right, row_major>(
            &halves, VALUE_AT + k * VALUE_ROW_STEP + n * VALUE_COLUMN_STEP, VALUE_PITCH);
          for (var m = 0u; m < ROW_TILES; m++) { // unroll
            for (var part = 0u; part < PARTS; part++) { // unroll
              output[m * VALUE_TILES + n] = subgroupMatrixMultiplyAccumulate(
                weightMatrices[part * ROW_TILES + m], values, output[m * VALUE_TILES + n]);
            }
          }
          if (PARTS == 2u) {
            let lowValues = subgroupMatrixLoad<Right, row_major>(
              &halves, VALUE_AT + (PARTS - 1u) * VALUE_SIZE + k * VALUE_ROW_STEP + n * VALUE_COLUMN_STEP, VALUE_PITCH);
            for (var m = 0u; m < ROW_TILES; m++) { // unroll
              output[m * VALUE_TILES + n] = subgroupMatrixMultiplyAccumulate(
                weightMatrices[m], lowValues, output[m * VALUE_TILES + n]);
            }
          }
        }
      }
    }

    if (lacks == SCORES) { break; }
    if (lacks == WEIGHTS) {
      for (var n = 0u; n < ROWS * OWN_VECTORS * 4u; n++) {
        let r = n / (4u * OWN_VECTORS);
        let vector = ownLane + n / 4u % OWN_VECTORS * LANES;
        let j = tileBegin + i32(4u * vector + n % 4u);
        let at = ownScoreAt + r * SCORE_PITCH + vector;
        var x = u.scale * scores[ownSubgroup][at][n % 4u];
        if (j < end) { x += score_beyond(queryBase[r], keyBase + u32(j) * u.kRow); }
        scores[ownSubgroup][at][n % 4u] = x;
      }
    } else {
      rescale(&output, &factors, subgroup, valuesBeyond, valueBase, tileBegin, firstSeen, end);
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
        &scores[subgroup], m * MATRIX_M * SCORE_PITCH, output[m * VALUE_TILES + n], SCORE_PITCH);
    }
    workgroupBarrier();
    for (var at = own; at < TILE_ROWS * (MATRIX_N / 4); at += THREADS) {
      let local = at / (MATRIX_N / 4);
      let row = firstRow + local;
      if (row < rows) {
        let h = keyHead * u.group + row % u.group;
        let base = split * u.oSplit + b * u.oBatch + h * u.oHead + row / u.group * u.oRow - u.oStart;
        let c = at % (MATRIX_N / 4);
        let x = scores[local / SUBGROUP_ROWS][local % SUBGROUP_ROWS * SCORE_PITCH + c];
        store_output(base, n * (MATRIX_N / 4) + c, rowFactors[local] * x);
      }
    }
  }
}
