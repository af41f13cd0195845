// FlashAttention-2, forward (Dao 2023, algorithm 1): one pass over the keys with online softmax, tiles of K and V in workgroup
// memory, q and the output in registers. The query heads of one key head lie next to each other in a tile's rows.
// By block, row, slice and lane: only the block and the lane are no constants, so that bounds checks stay outside the loops.
var<workgroup> keyTile: array<array<array<array<TileVector, LANES>, QK_SLICE>, BLOCK>, KEYS / BLOCK>;
var<workgroup> valueTile: array<array<array<array<TileVector, LANES>, V_SLICE>, BLOCK>, KEYS / BLOCK>;

fn load_tiles(keyBase: u32, valueBase: u32, begin: i32, end: i32) {
  for (var n = invocation; n < KEYS * QK_PITCH; n += THREADS) {
    let j = begin + i32(n / QK_PITCH);
    var x = vec4f(0.0);
    if (j < end) { x = load_k(keyBase + u32(j) * u.kRow, n % QK_PITCH); }
    keyTile[n / (BLOCK * QK_PITCH)][n / QK_PITCH % BLOCK][n / LANES % QK_SLICE][n % LANES] = to_tile(x);
  }
  for (var n = invocation; n < KEYS * V_PITCH; n += THREADS) {
    let j = begin + i32(n / V_PITCH);
    var x = vec4f(0.0);
    if (j < end) { x = load_v(valueBase + u32(j) * u.vRow, n % V_PITCH); }
    valueTile[n / (BLOCK * V_PITCH)][n / V_PITCH % BLOCK][n / LANES % V_SLICE][n % LANES] = to_tile(x);
  }
}

fn run(item: u32) {
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

  var query: array<vec4f, ROWS * QK_SLICE>;
  var output: array<vec4f, ROWS * V_SLICE>;
  var info: array<Row, ROWS>;
  var rowMax: RowValues;
  var rowSum: RowValues;
  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = firstRow + invocation / LANES * ROWS + r;
    let h = keyHead * u.group + row % u.group;
    let i = row / u.group;
    info[r] = row_at(b, h, i, offset, lengthEnd, row < rows);
    info[r].endKey = min(info[r].endKey, end);
    rowMax[r] = LOWEST;
    for (var c = 0u; c < QK_SLICE; c++) { // unroll
      if (row < rows) {
        query[r * QK_SLICE + c] = u.scale * load_q(b * u.qBatch + h * u.qHead + i * u.qRow - u.qStart, c * LANES + lane);
      }
    }
  }
  let keyBase = b * u.kBatch + keyHead * u.kHead - u.kStart;
  let valueBase = b * u.vBatch + keyHead * u.vHead - u.vStart;

  for (var tileBegin = begin; tileBegin < end; tileBegin += KEYS) {
    workgroupBarrier();
    load_tiles(keyBase, valueBase, tileBegin, end);
    workgroupBarrier();
    let checked = HAS_SEGMENTS || HAS_MASK || tileBegin < fullBegin || tileBegin + KEYS > fullEnd;

    for (var block = 0u; block < u.blocks; block++) {
      var scores = Scores();
      for (var c = 0u; c < QK_SLICE; c++) { // unroll
        for (var k = 0u; k < BLOCK; k++) { // unroll
          let x = vec4f(keyTile[block][k][c][lane]);
          for (var r = 0u; r < ROWS; r++) { // unroll
            scores[r * BLOCK + k] = multiply_add(query[r * QK_SLICE + c], x, scores[r * BLOCK + k]);
          }
        }
      }
      var own: OwnScores;
      sum_to_owner(&scores, &own);

      let ownKey = tileBegin + i32(block * BLOCK + first_own());
      var newMax: RowValues = rowMax;
      for (var r = 0u; r < ROWS; r++) { // unroll
        for (var k = 0u; k < OWN; k++) { // unroll
          let j = ownKey + i32(k);
          var s = score_at(own[r * OWN + k], info[r], j);
          if (checked) { s = select(s, u.negativeInfinity, is_hidden(info[r], j)); }
          own[r * OWN + k] = s;
          newMax[r] = max(newMax[r], s);
        }
      }
      max_of_lanes(&newMax);
      for (var r = 0u; r < ROWS; r++) { // unroll
        let correction = exp_difference(rowMax[r] - newMax[r]);
        rowSum[r] *= correction;
        for (var c = 0u; c < V_SLICE; c++) { // unroll
          output[r * V_SLICE + c] *= correction;
        }
        rowMax[r] = newMax[r];
        for (var k = 0u; k < OWN; k++) { // unroll
          let s = own[r * OWN + k];
          var p = exp_difference(s - newMax[r]);
          if (HAS_BIAS || checked) { p = select(p, 0.0, is_negative_infinity(s)); }
          rowSum[r] += p;
          if (HAS_DROPOUT) { p = select(p * u.keepScale, 0.0, is_dropped(info[r], ownKey + i32(k))); }
          own[r * OWN + k] = p;
        }
      }
      share_scores(&own, &scores);
      for (var k = 0u; k < BLOCK; k++) { // unroll
        for (var c = 0u; c < V_SLICE; c++) { // unroll
          let x = vec4f(valueTile[block][k][c][lane]);
          for (var r = 0u; r < ROWS; r++) { // unroll
            output[r * V_SLICE + c] = fma(vec4f(scores[r * BLOCK + k]), x, output[r * V_SLICE + c]);
          }
        }
      }
    }
  }

  sum_of_lanes(&rowSum);
  for (var r = 0u; r < ROWS; r++) { // unroll
    rowSum[r] /= f32(COPIES);
  }
  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = firstRow + invocation / LANES * ROWS + r;
    if (row < rows) {
      let h = info[r].h;
      let outputBase = split * u.oSplit + b * u.oBatch + h * u.oHead + info[r].i * u.oRow - u.oStart;
      let lseAt = ((split * u.B + b) * u.H + h) * u.Sq + info[r].i;
      var factor = 1.0;
      if (SPLIT) {
        if (lane == 0u) { store_lse(lseAt, rowMax[r], rowSum[r]); }
      } else {
        factor = finish_row(lseAt, h, rowMax[r], rowSum[r]);
      }
      for (var c = 0u; c < V_SLICE; c++) { // unroll
        store_output(outputBase, c * LANES + lane, factor * output[r * V_SLICE + c]);
      }
    }
  }
}
