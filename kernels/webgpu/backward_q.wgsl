// FlashAttention-2, backward, the part for dq: rows of queries in registers, tiles of K and V in workgroup memory, as forward.
// By block, row, slice and lane: only the block and the lane are no constants, so that bounds checks stay outside the loops.
var<workgroup> keyTile: array<array<array<array<vec4f, LANES>, QK_SLICE>, BLOCK>, KEYS / BLOCK>;
var<workgroup> valueTile: array<array<array<array<vec4f, LANES>, V_SLICE>, BLOCK>, KEYS / BLOCK>;

fn load_tiles(keyBase: u32, valueBase: u32, begin: i32, end: i32) {
  for (var n = invocation; n < KEYS * QK_PITCH; n += THREADS) {
    let key = n / QK_PITCH;
    let j = begin + i32(key);
    var x = vec4f(0.0);
    if (j < end) { x = as_seen(load_k(keyBase + u32(j) * u.kRow, n % QK_PITCH)); }
    keyTile[key / BLOCK][(key % BLOCK) ^ first_own(n % LANES)][n / LANES % QK_SLICE][n % LANES] = x;
  }
  for (var n = invocation; n < KEYS * V_PITCH; n += THREADS) {
    let key = n / V_PITCH;
    let j = begin + i32(key);
    var x = vec4f(0.0);
    if (j < end) { x = as_seen(load_v(valueBase + u32(j) * u.vRow, n % V_PITCH)); }
    valueTile[key / BLOCK][(key % BLOCK) ^ first_own(n % LANES)][n / LANES % V_SLICE][n % LANES] = x;
  }
}

fn run(item: u32) {
  let place = place_of(item);
  let tile = u.tiles - 1u - place.x;
  let keyHead = u.headStart + place.y % u.heads;
  let b = u.batchStart + place.y / u.heads;

  let rows = u.Sq * u.group;
  let firstRow = tile * TILE_ROWS;
  let lastRow = min(firstRow + TILE_ROWS, rows) - 1u;
  let offset = query_offset(b);
  let lengthEnd = end_of_keys(b);
  let firstPosition = i32(firstRow / u.group) + offset;
  let lastPosition = i32(lastRow / u.group) + offset;
  let begin = whole_quad(first_key(firstPosition, lengthEnd));
  let end = end_key(lastPosition, lengthEnd);
  let fullBegin = first_key(lastPosition, lengthEnd);
  let fullEnd = end_key(firstPosition, lengthEnd);

  var query: array<vec4f, ROWS * QK_SLICE>;
  var dOutput: array<vec4f, ROWS * V_SLICE>;
  var dQuery: array<vec4f, ROWS * QK_SLICE>;
  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = firstRow + row_in_tile(r);
    let h = keyHead * u.group + row % u.group;
    let i = row / u.group;
    if (row < rows) {
      for (var c = 0u; c < QK_SLICE; c++) { // unroll
        query[r * QK_SLICE + c] = u.scale * load_q(b * u.qBatch + h * u.qHead + i * u.qRow - u.qStart, c * LANES + lane);
      }
      for (var c = 0u; c < V_SLICE; c++) { // unroll
        dOutput[r * V_SLICE + c] = load_dOutput(b * u.oBatch + h * u.oHead + i * u.oRow - u.oStart, c * LANES + lane);
      }
    }
  }
  var info: array<Row, OWN_ROWS>;
  var saved: array<vec4f, OWN_ROWS>;
  for (var r = 0u; r < OWN_ROWS; r++) { // unroll
    let row = firstRow + row_in_tile(r);
    let h = keyHead * u.group + row % u.group;
    info[r] = row_at(b, h, row / u.group, offset, lengthEnd, row < rows);
    if (row < rows) { saved[r] = saved_row(b, h, row / u.group); }
  }
  let keyBase = b * u.kBatch + keyHead * u.kHead - u.kStart;
  let valueBase = b * u.vBatch + keyHead * u.vHead - u.vStart;

  for (var tileBegin = begin; tileBegin < end; tileBegin += KEYS) {
    workgroupBarrier();
    load_tiles(keyBase, valueBase, tileBegin, end);
    workgroupBarrier();
    let checked = HAS_SEGMENTS || HAS_MASK || tileBegin < fullBegin || tileBegin + KEYS > fullEnd;

    for (var block = 0u; block < u.blocks; block++) {
      var partial = Scores();
      var own: OwnScores;
      var ownGradient: OwnScores;
      for (var c = 0u; c < QK_SLICE; c++) { // unroll
        for (var k = 0u; k < BLOCK; k++) { // unroll
          let x = keyTile[block][k][c][lane];
          for (var r = 0u; r < ROWS; r++) { // unroll
            partial[r * BLOCK + k] = multiply_add(query[r * QK_SLICE + c], x, partial[r * BLOCK + k]);
          }
        }
      }
      sum_to_owner(&partial, &own);
      partial = Scores();
      for (var c = 0u; c < V_SLICE; c++) { // unroll
        for (var k = 0u; k < BLOCK; k++) { // unroll
          let x = valueTile[block][k][c][lane];
          for (var r = 0u; r < ROWS; r++) { // unroll
            partial[r * BLOCK + k] = multiply_add(dOutput[r * V_SLICE + c], x, partial[r * BLOCK + k]);
          }
        }
      }
      sum_to_owner(&partial, &ownGradient);
      let ownKey = tileBegin + i32(block * BLOCK + first_own(lane));
      var keep: OwnScores;
      keep_factors(&info, ownKey, &keep);
      for (var r = 0u; r < OWN_ROWS; r++) { // unroll
        for (var k = 0u; k < OWN; k++) { // unroll
          let n = r * OWN + k;
          own[n] = place_gradient(own[n], ownGradient[n], keep[n], info[r], saved[r], ownKey + i32(k)).raw;
        }
      }
      if (checked) {
        for (var r = 0u; r < OWN_ROWS; r++) { // unroll
          for (var k = 0u; k < OWN; k++) { // unroll
            own[r * OWN + k] = select(own[r * OWN + k], 0.0, is_hidden(info[r], ownKey + i32(k)));
          }
        }
      }
      share_scores(&own, &partial);
      for (var k = 0u; k < BLOCK; k++) { // unroll
        for (var c = 0u; c < QK_SLICE; c++) { // unroll
          let x = keyTile[block][k][c][lane];
          for (var r = 0u; r < ROWS; r++) { // unroll
            dQuery[r * QK_SLICE + c] = fma(vec4f(partial[r * BLOCK + k]), x, dQuery[r * QK_SLICE + c]);
          }
        }
      }
    }
  }

  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = firstRow + row_in_tile(r);
    if (row < rows) {
      let base = b * u.qBatch + (keyHead * u.group + row % u.group) * u.qHead + row / u.group * u.qRow - u.qStart;
      for (var c = 0u; c < QK_SLICE; c++) { // unroll
        store_dq(base, c * LANES + lane, u.scale * dQuery[r * QK_SLICE + c]);
      }
    }
  }
}
