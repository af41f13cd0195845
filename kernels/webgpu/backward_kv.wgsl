// FlashAttention-2, backward, the part for dk and dv: rows of keys in registers, tiles of the queries that see them and of dO in
// workgroup memory, one query head of the group after the other: no atomics, and a fixed order of summation.
// By block, row, slice and lane: only the block and the lane are no constants, so that bounds checks stay outside the loops.
var<workgroup> queryTile: array<array<array<array<vec4f, LANES>, QK_SLICE>, BLOCK>, KEYS / BLOCK>;
var<workgroup> gradientTile: array<array<array<array<vec4f, LANES>, V_SLICE>, BLOCK>, KEYS / BLOCK>;

var<workgroup> savedTile: array<array<vec4f, BLOCK>, KEYS / BLOCK>;

fn load_tiles(b: u32, h: u32, begin: i32, end: i32) {
  let queryBase = b * u.qBatch + h * u.qHead - u.qStart;
  let outputBase = b * u.oBatch + h * u.oHead - u.oStart;
  for (var n = invocation; n < KEYS * QK_PITCH; n += THREADS) {
    let query = n / QK_PITCH;
    let i = begin + i32(query);
    var x = vec4f(0.0);
    if (i < end) { x = u.scale * load_q(queryBase + u32(i) * u.qRow, n % QK_PITCH); }
    queryTile[query / BLOCK][(query % BLOCK) ^ first_own(n % LANES)][n / LANES % QK_SLICE][n % LANES] = x;
  }
  for (var n = invocation; n < KEYS * V_PITCH; n += THREADS) {
    let query = n / V_PITCH;
    let i = begin + i32(query);
    var x = vec4f(0.0);
    if (i < end) { x = load_dOutput(outputBase + u32(i) * u.oRow, n % V_PITCH); }
    gradientTile[query / BLOCK][(query % BLOCK) ^ first_own(n % LANES)][n / LANES % V_SLICE][n % LANES] = x;
  }
  for (var n = invocation; n < KEYS; n += THREADS) {
    let i = begin + i32(n);
    var x = vec4f(0.0);
    if (i < end) { x = saved_row(b, h, u32(i)); }
    savedTile[n / BLOCK][n % BLOCK] = x;
  }
}

// A query of the tile; those from `end` on are padding.
fn row_of_tile(b: u32, h: u32, i: i32, end: i32, offset: i32, lengthEnd: i32) -> Row {
  return row_at(b, h, min(u32(i), u.Sq - 1u), offset, lengthEnd, i < end);
}

fn run(item: u32) {
  let place = place_of(item);
  let tile = place.x;
  let keyHead = u.headStart + place.y % u.heads;
  let b = u.batchStart + place.y / u.heads;

  let offset = query_offset(b);
  let lengthEnd = end_of_keys(b);
  let firstKeyOfTile = i32(tile * TILE_ROWS);
  let lastKeyOfTile = min(firstKeyOfTile + TILE_ROWS, lengthEnd) - 1;
  // The queries that see any key of the tile.
  let begin = select(max(firstKeyOfTile - offset - u.windowRight, 0), 0, u.windowRight < 0);
  let windowEnd = select(min(lastKeyOfTile - offset + u.windowLeft + 1, i32(u.Sq)), i32(u.Sq), u.windowLeft < 0);
  let end = select(windowEnd, 0, lastKeyOfTile < firstKeyOfTile);

  var key: array<vec4f, ROWS * QK_SLICE>;
  var value: array<vec4f, ROWS * V_SLICE>;
  var dKey: array<vec4f, ROWS * QK_SLICE>;
  var dValue: array<vec4f, ROWS * V_SLICE>;
  let keyBase = b * u.kBatch + keyHead * u.kHead - u.kStart;
  let valueBase = b * u.vBatch + keyHead * u.vHead - u.vStart;
  for (var r = 0u; r < ROWS; r++) { // unroll
    let j = firstKeyOfTile + i32(row_in_tile(r));
    if (j < lengthEnd) {
      for (var c = 0u; c < QK_SLICE; c++) { // unroll
        key[r * QK_SLICE + c] = as_seen(load_k(keyBase + u32(j) * u.kRow, c * LANES + lane));
      }
      for (var c = 0u; c < V_SLICE; c++) { // unroll
        value[r * V_SLICE + c] = as_seen(load_v(valueBase + u32(j) * u.vRow, c * LANES + lane));
      }
    }
  }

  for (var member = 0u; member < u.group; member++) {
    let h = keyHead * u.group + member;
    for (var tileBegin = begin; tileBegin < end; tileBegin += KEYS) {
      workgroupBarrier();
      load_tiles(b, h, tileBegin, end);
      workgroupBarrier();
      let checked = HAS_SEGMENTS || HAS_MASK || tileBegin + KEYS > end ||
        first_key(tileBegin + KEYS - 1 + offset, lengthEnd) > firstKeyOfTile ||
        end_key(tileBegin + offset, lengthEnd) < firstKeyOfTile + TILE_ROWS;

      for (var block = 0u; block < u.blocks; block++) {
        var partial = Scores();
        var own: OwnScores;
        var ownGradient: OwnScores;
        for (var c = 0u; c < QK_SLICE; c++) { // unroll
          for (var k = 0u; k < BLOCK; k++) { // unroll
            let x = queryTile[block][k][c][lane];
            for (var r = 0u; r < ROWS; r++) { // unroll
              partial[r * BLOCK + k] = multiply_add(key[r * QK_SLICE + c], x, partial[r * BLOCK + k]);
            }
          }
        }
        sum_to_owner(&partial, &own);
        partial = Scores();
        for (var c = 0u; c < V_SLICE; c++) { // unroll
          for (var k = 0u; k < BLOCK; k++) { // unroll
            let x = gradientTile[block][k][c][lane];
            for (var r = 0u; r < ROWS; r++) { // unroll
              partial[r * BLOCK + k] = multiply_add(value[r * V_SLICE + c], x, partial[r * BLOCK + k]);
            }
          }
        }
        sum_to_owner(&partial, &ownGradient);
        let ownKey = firstKeyOfTile + i32(row_in_tile(0u));
        let ownQuery = tileBegin + i32(block * BLOCK + first_own(lane));
        for (var k = 0u; k < OWN; k++) { // unroll
          let row = row_of_tile(b, h, ownQuery + i32(k), end, offset, lengthEnd);
          let saved = savedTile[block][first_own(lane) + k];
          for (var r = 0u; r < OWN_ROWS; r++) { // unroll
            let n = r * OWN + k;
            var keep = 1.0;
            if (HAS_DROPOUT) { keep = select(u.keepScale, 0.0, is_dropped(row, ownKey + i32(r))); }
            let place = place_gradient(own[n], ownGradient[n], keep, row, saved, ownKey + i32(r));
            own[n] = place.kept;
            ownGradient[n] = place.raw;
          }
        }
        if (checked) {
          for (var k = 0u; k < OWN; k++) { // unroll
            let row = row_of_tile(b, h, ownQuery + i32(k), end, offset, lengthEnd);
            for (var r = 0u; r < OWN_ROWS; r++) { // unroll
              let hidden = is_hidden(row, ownKey + i32(r));
              own[r * OWN + k] = select(own[r * OWN + k], 0.0, hidden);
              ownGradient[r * OWN + k] = select(ownGradient[r * OWN + k], 0.0, hidden);
            }
          }
        }
        share_scores(&own, &partial);
        for (var k = 0u; k < BLOCK; k++) { // unroll
          for (var c = 0u; c < V_SLICE; c++) { // unroll
            let x = gradientTile[block][k][c][lane];
            for (var r = 0u; r < ROWS; r++) { // unroll
              dValue[r * V_SLICE + c] = fma(vec4f(partial[r * BLOCK + k]), x, dValue[r * V_SLICE + c]);
            }
          }
        }
        share_scores(&ownGradient, &partial);
        for (var k = 0u; k < BLOCK; k++) { // unroll
          for (var c = 0u; c < QK_SLICE; c++) { // unroll
            let x = queryTile[block][k][c][lane];
            for (var r = 0u; r < ROWS; r++) { // unroll
              dKey[r * QK_SLICE + c] = fma(vec4f(partial[r * BLOCK + k]), x, dKey[r * QK_SLICE + c]);
            }
          }
        }
      }
    }
  }

  for (var r = 0u; r < ROWS; r++) { // unroll
    let j = firstKeyOfTile + i32(row_in_tile(r));
    if (j < i32(u.Sk)) {
      // A key beyond the length gets exactly 0, whatever it holds.
      let seen = j < lengthEnd;
      for (var c = 0u; c < QK_SLICE; c++) { // unroll
        store_dk(keyBase + u32(j) * u.kRow, c * LANES + lane, select(vec4f(0.0), dKey[r * QK_SLICE + c], seen));
      }
      for (var c = 0u; c < V_SLICE; c++) { // unroll
        store_dv(valueBase + u32(j) * u.vRow, c * LANES + lane, select(vec4f(0.0), dValue[r * V_SLICE + c], seen));
      }
    }
  }
}
