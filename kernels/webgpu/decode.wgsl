// Few queries over many keys (Flash-Decoding): every group of lanes holds the same ROWS rows or one of ROW_GROUPS sets of them, and
// walks over its own blocks of keys straight from memory, without barriers; the groups' partial results are merged at the end.
const STREAMS = GROUPS / ROW_GROUPS;
var<workgroup> streamMax: array<f32, GROUPS * ROWS>;
var<workgroup> streamSum: array<f32, GROUPS * ROWS>;
var<workgroup> streamOutput: array<vec4f, GROUPS * V_PITCH>;

fn run(item: u32) {
  let tile = item % u.tiles;
  let split = item / u.tiles % u.splits;
  let keyHead = u.headStart + item / (u.tiles * u.splits) % u.heads;
  let b = u.batchStart + item / (u.tiles * u.splits * u.heads);
  let ownGroup = invocation / LANES;
  let rowGroup = ownGroup % ROW_GROUPS;
  let stream = ownGroup / ROW_GROUPS;

  let rows = u.Sq * u.group;
  let firstRow = tile * ROW_GROUPS * ROWS;
  let lastRow = min(firstRow + ROW_GROUPS * ROWS, rows) - 1u;
  let offset = query_offset(b);
  let lengthEnd = end_of_keys(b);
  let splitBegin = i32(split * u.splitKeys);
  let begin = max(splitBegin, first_key(i32(firstRow / u.group) + offset, lengthEnd));
  let end = min(min(splitBegin + i32(u.splitKeys), lengthEnd), end_key(i32(lastRow / u.group) + offset, lengthEnd));
  let fullBegin = first_key(i32(lastRow / u.group) + offset, lengthEnd);
  let fullEnd = min(end, end_key(i32(firstRow / u.group) + offset, lengthEnd));

  var query: array<vec4f, ROWS * QK_SLICE>;
  var output: array<vec4f, ROWS * V_SLICE>;
  var info: array<Row, ROWS>;
  var rowMax: RowValues;
  var rowSum: RowValues;
  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = firstRow + rowGroup * ROWS + r;
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

  for (var stepBegin = begin; stepBegin < end; stepBegin += STREAMS * BLOCK) {
    let first = stepBegin + i32(stream * BLOCK);
    let checked = HAS_SEGMENTS || HAS_MASK || stepBegin < fullBegin || stepBegin + STREAMS * BLOCK > fullEnd;
    var scores = Scores();
    for (var k = 0u; k < BLOCK; k++) { // unroll
      let j = u32(min(first + i32(k), end - 1));
      for (var c = 0u; c < QK_SLICE; c++) { // unroll
        let x = load_k(keyBase + j * u.kRow, c * LANES + lane);
        for (var r = 0u; r < ROWS; r++) { // unroll
          scores[r * BLOCK + k] = multiply_add(query[r * QK_SLICE + c], x, scores[r * BLOCK + k]);
        }
      }
    }
    var values: array<vec4f, BLOCK * V_SLICE>;
    for (var k = 0u; k < BLOCK; k++) { // unroll
      let j = u32(min(first + i32(k), end - 1));
      for (var c = 0u; c < V_SLICE; c++) { // unroll
        values[k * V_SLICE + c] = load_v(valueBase + j * u.vRow, c * LANES + lane);
      }
    }
    var own: OwnScores;
    sum_to_owner(&scores, &own);

    let ownKey = first + i32(first_own(lane));
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
        for (var r = 0u; r < ROWS; r++) { // unroll
          output[r * V_SLICE + c] = fma(vec4f(scores[r * BLOCK + k]), values[k * V_SLICE + c], output[r * V_SLICE + c]);
        }
      }
    }
  }

  sum_of_lanes(&rowSum);
  for (var r = 0u; r < ROWS; r++) { // unroll
    if (lane == 0u) {
      streamMax[ownGroup * ROWS + r] = rowMax[r];
      streamSum[ownGroup * ROWS + r] = rowSum[r];
    }
  }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) { // unroll
    var top = LOWEST;
    for (var s = 0u; s < STREAMS; s++) { top = max(top, streamMax[(s * ROW_GROUPS + rowGroup) * ROWS + r]); }
    let weight = exp_difference(rowMax[r] - top);
    for (var c = 0u; c < V_SLICE; c++) { // unroll
      streamOutput[ownGroup * V_PITCH + c * LANES + lane] = weight * output[r * V_SLICE + c];
    }
    workgroupBarrier();
    for (var n = invocation; n < ROW_GROUPS * V_PITCH; n += THREADS) {
      let member = n / V_PITCH;
      let row = firstRow + member * ROWS + r;
      if (row < rows) {
        store_row(split, b, keyHead * u.group + row % u.group, row / u.group, member * ROWS + r, member * V_PITCH + n % V_PITCH, n % V_PITCH);
      }
    }
    workgroupBarrier();
  }
}

// One vec4 of one row from all streams; `at` and `vectorAt` are its places in the first stream.
fn store_row(split: u32, b: u32, h: u32, i: u32, at: u32, vectorAt: u32, c: u32) {
  var top = LOWEST;
  for (var s = 0u; s < STREAMS; s++) { top = max(top, streamMax[s * ROW_GROUPS * ROWS + at]); }
  var sum = 0.0;
  var output = vec4f(0.0);
  for (var s = 0u; s < STREAMS; s++) {
    let weight = exp_difference(streamMax[s * ROW_GROUPS * ROWS + at] - top);
    sum = fma(weight, streamSum[s * ROW_GROUPS * ROWS + at], sum);
    output += streamOutput[s * ROW_GROUPS * V_PITCH + vectorAt];
  }
  let lseAt = ((split * u.B + b) * u.H + h) * u.Sq + i;
  var factor = 1.0;
  if (SPLIT) {
    if (c == 0u) { store_lse(lseAt, top, sum); }
  } else {
    factor = finish_row(lseAt, h, top, sum, c == 0u);
  }
  store_output(split * u.oSplit + b * u.oBatch + h * u.oHead + i * u.oRow - u.oStart, c, factor * output);
}
