// FlashAttention-2, forward (Dao 2023, algorithm 1): one pass over the keys with online softmax, tiles of K and V in workgroup
// memory, q and the output in registers. The query heads of one key head lie next to each other in a tile's rows.
// By block, row, slice and lane: only the block and the lane are no constants, so that bounds checks stay outside the loops.
var<workgroup> keyTile: array<array<array<array<TileVector, LANES>, QK_SLICE>, BLOCK>, KEYS / BLOCK>;
var<workgroup> valueTile: array<array<array<array<TileVector, LANES>, V_SLICE>, BLOCK>, KEYS / BLOCK>;

fn load_tiles(keyBase: u32, valueBase: u32, begin: i32, end: i32) {
  for (var n = invocation; n < KEYS * QK_PITCH; n += THREADS) {
    let key = n / QK_PITCH;
    let j = begin + i32(key);
    var x = vec4f(0.0);
    if (j < end) { x = load_k(keyBase + u32(j) * u.kRow, n % QK_PITCH); }
    keyTile[key / BLOCK][(key % BLOCK) ^ first_own(n % LANES)][n / LANES % QK_SLICE][n % LANES] = to_tile(x);
  }
  for (var n = invocation; n < KEYS * V_PITCH; n += THREADS) {
    let key = n / V_PITCH;
    let j = begin + i32(key);
    var x = vec4f(0.0);
    if (j < end) { x = load_v(valueBase + u32(j) * u.vRow, n % V_PITCH); }
    valueTile[key / BLOCK][(key % BLOCK) ^ first_own(n % LANES)][n / LANES % V_SLICE][n % LANES] = to_tile(x);
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
  let begin = whole_quad(max(splitBegin, first_key(firstPosition, lengthEnd)));
  let end = min(splitEnd, end_key(lastPosition, lengthEnd));
  // Between these, every row of the tile sees every key.
  let fullBegin = first_key(lastPosition, lengthEnd);
  let fullEnd = min(end, end_key(firstPosition, lengthEnd));

  var query: array<vec4f, ROWS * QK_SLICE>;
  var output: array<vec4f, ROWS * V_SLICE>;
  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = firstRow + row_in_tile(r);
    let h = keyHead * u.group + row % u.group;
    let i = row / u.group;
    for (var c = 0u; c < QK_SLICE; c++) { // unroll
      if (row < rows) {
        query[r * QK_SLICE + c] = u.scale * load_q(b * u.qBatch + h * u.qHead + i * u.qRow - u.qStart, c * LANES + lane);
      }
    }
  }
  var info: array<Row, OWN_ROWS>;
  var rowMax: OwnRows;
  var rowSum: OwnRows;
  var poison: OwnRows;
  for (var r = 0u; r < OWN_ROWS; r++) { // unroll
    let row = firstRow + row_in_tile(r);
    info[r] = row_at(b, keyHead * u.group + row % u.group, row / u.group, offset, lengthEnd, row < rows);
    info[r].endKey = min(info[r].endKey, end);
    rowMax[r] = LOWEST;
  }
  let keyBase = b * u.kBatch + keyHead * u.kHead - u.kStart;
  let valueBase = b * u.vBatch + keyHead * u.vHead - u.vStart;

  for (var tileBegin = begin; tileBegin < end; tileBegin += KEYS) {
    workgroupBarrier();
    load_tiles(keyBase, valueBase, tileBegin, end);
    workgroupBarrier();
    let isEdge = tileBegin < fullBegin || tileBegin + KEYS > fullEnd;

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
      let ownKey = tileBegin + i32(block * BLOCK + first_own(lane));
      attend(&own, &info, ownKey, isEdge, &rowMax, &rowSum, &poison, &output);
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
  sum_of_lanes(&poison);
  var ownFactors: OwnRows;
  for (var r = 0u; r < OWN_ROWS; r++) { // unroll
    let sum = poisoned(rowSum[r], poison[r]);
    let lseAt = ((split * u.B + b) * u.H + info[r].h) * u.Sq + info[r].i;
    let stores = speaks() && firstRow + row_in_tile(r) < rows;
    ownFactors[r] = 1.0;
    if (SPLIT) {
      if (stores) { store_lse(lseAt, rowMax[r], sum); }
    } else {
      ownFactors[r] = finish_row(lseAt, info[r].h, rowMax[r], sum, stores);
    }
  }
  var factors: RowValues;
  share_rows(&ownFactors, &factors);
  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = firstRow + row_in_tile(r);
    if (row < rows) {
      let h = keyHead * u.group + row % u.group;
      let base = split * u.oSplit + b * u.oBatch + h * u.oHead + row / u.group * u.oRow - u.oStart;
      for (var c = 0u; c < V_SLICE; c++) { // unroll
        store_output(base, c * LANES + lane, factors[r] * output[r * V_SLICE + c]);
      }
    }
  }
}
