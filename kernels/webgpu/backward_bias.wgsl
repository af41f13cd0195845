// dbias: the score's gradient before softcap, summed over the axes that the bias is broadcast over. A workgroup owns 16 × 16 places
// and walks over its share of the broadcast tiles in order; `sum_parts` adds the shares up.
const SIDE = 16u;
var<workgroup> left: array<f32, SIDE * SIDE>;
var<workgroup> right: array<f32, SIDE * SIDE>;
var<workgroup> sums: array<f32, SIDE * SIDE>;

// One channel block of q·k for this invocation's place.
fn add_products(sum: f32) -> f32 {
  workgroupBarrier();
  var total = sum;
  for (var d = 0u; d < SIDE; d++) {
    total = fma(left[invocation / SIDE * SIDE + d], right[invocation % SIDE * SIDE + d], total);
  }
  workgroupBarrier();
  return total;
}

fn run(item: u32) {
  // Tiles of the bias: batch, head, rows, keys; an axis of length 1 in the bias is walked instead.
  let rowTiles = (u.Sq + SIDE - 1u) / SIDE;
  let keyTiles = (u.Sk + SIDE - 1u) / SIDE;
  let ownKeys = select(1u, keyTiles, PER_KEY);
  let ownRows = select(1u, rowTiles, PER_ROW);
  let ownHeads = select(1u, u.H, PER_HEAD);
  let ownBatches = select(1u, u.B, PER_BATCH);
  let share = item % u.splits;
  let element = item / u.splits;
  let keyTile = element % ownKeys;
  let rowTile = element / ownKeys % ownRows;
  let head = element / (ownKeys * ownRows) % ownHeads;
  let batch = element / (ownKeys * ownRows * ownHeads);
  let walkKeys = keyTiles / ownKeys;
  let walkRows = rowTiles / ownRows;
  let walkHeads = u.H / ownHeads;
  let walk = walkKeys * walkRows * walkHeads * (u.B / ownBatches);
  let walkEnd = min((share + 1u) * u.splitKeys, walk);

  let myRow = invocation / SIDE;
  let myKey = invocation % SIDE;
  var sum = 0.0;
  for (var step = share * u.splitKeys; step < walkEnd; step++) {
    let j0 = (keyTile + select(step % walkKeys, 0u, PER_KEY)) * SIDE;
    let i0 = (rowTile + select(step / walkKeys % walkRows, 0u, PER_ROW)) * SIDE;
    let h = head + select(step / (walkKeys * walkRows) % walkHeads, 0u, PER_HEAD);
    let b = batch + select(step / (walkKeys * walkRows * walkHeads), 0u, PER_BATCH);
    let offset = query_offset(b);
    let lengthEnd = end_of_keys(b);
    let lastRow = min(i0 + SIDE, u.Sq) - 1u;
    if (i32(j0) >= end_key(i32(lastRow) + offset, lengthEnd) || i32(j0 + SIDE) <= first_key(i32(i0) + offset, lengthEnd)) { continue; }
    let keyHead = h / u.group;
    // Loading: this invocation brings channel `myKey` of tile row `myRow`, for both operands.
    let i = i0 + myRow;
    let j = j0 + myRow;
    var s = 0.0;
    var dP = 0.0;
    for (var d = 0u; d < D; d += SIDE) {
      let channel = d + myKey;
      let rowValid = i < u.Sq && channel < D;
      let keyValid = i32(j) < lengthEnd && channel < D;
      left[invocation] = 0.0;
      right[invocation] = 0.0;
      if (rowValid) { left[invocation] = u.scale * q[b * u.qBatch + h * u.qHead + i * u.qRow + channel]; }
      if (keyValid) { right[invocation] = as_seen(vec4f(k[b * u.kBatch + keyHead * u.kHead + j * u.kRow + channel])).x; }
      s = add_products(s);
    }
    for (var d = 0u; d < DV; d += SIDE) {
      let channel = d + myKey;
      let rowValid = i < u.Sq && channel < DV;
      let keyValid = i32(j) < lengthEnd && channel < DV;
      left[invocation] = 0.0;
      right[invocation] = 0.0;
      if (rowValid) { left[invocation] = dOutput[b * u.oBatch + h * u.oHead + i * u.oRow + channel]; }
      if (keyValid) { right[invocation] = as_seen(vec4f(v[b * u.vBatch + keyHead * u.vHead + j * u.vRow + channel])).x; }
      dP = add_products(dP);
    }
    if (i < u.Sq) {
      let row = row_at(b, h, i, offset, lengthEnd, true);
      let ownKey = i32(j0 + myKey);
      var keep = 1.0;
      if (HAS_DROPOUT) { keep = select(u.keepScale, 0.0, is_dropped(row, ownKey)); }
      let gradient = place_gradient(s, dP, keep, row, saved_row(b, h, i), ownKey).changed;
      sum += select(gradient, 0.0, is_hidden(row, ownKey));
    }
  }

  sums[invocation] = sum;
  workgroupBarrier();
  if ((!PER_ROW && myRow > 0u) || (!PER_KEY && myKey > 0u)) { return; }
  sum = 0.0;
  for (var r = 0u; r < select(SIDE, 1u, PER_ROW); r++) {
    for (var c = 0u; c < select(SIDE, 1u, PER_KEY); c++) { sum += sums[(myRow + r) * SIDE + myKey + c]; }
  }
  let rows = select(1u, u.Sq, PER_ROW);
  let keys = select(1u, u.Sk, PER_KEY);
  let i = rowTile * SIDE + myRow;
  let j = keyTile * SIDE + myKey;
  if (i < rows && j < keys) {
    parts[(((share * ownBatches + batch) * ownHeads + head) * rows + i) * keys + j] = sum;
  }
}
