// LANES neighbouring invocations share rows through workgroup memory, for devices without subgroups.
// A barrier before each write keeps it from overtaking the reads of the exchange before it.
var<workgroup> exchangedScores: array<f32, THREADS * ROWS * BLOCK>;
var<workgroup> exchangedOwn: array<f32, THREADS * OWN_ROWS * OWN>;
var<workgroup> exchangedRows: array<f32, THREADS * OWN_ROWS>;

// Where another lane, whose number differs by `difference`, keeps what this one keeps at (r, k) of its own.
fn place_of_own(r: u32, k: u32, difference: u32) -> u32 {
  let row = difference % ROW_LANES * OWN_ROWS + r;
  return row * BLOCK + difference / ROW_LANES % KEY_LANES * OWN + k;
}

fn sum_to_owner(partial: ptr<function, Scores>, own: ptr<function, OwnScores>) {
  workgroupBarrier();
  for (var n = 0u; n < ROWS * BLOCK; n++) { exchangedScores[n * THREADS + invocation] = (*partial)[n]; }
  workgroupBarrier();
  for (var r = 0u; r < OWN_ROWS; r++) {
    for (var k = 0u; k < OWN; k++) {
      // By lanes, not by differences: copies add up in the same order.
      var sum = 0.0;
      for (var l = 0u; l < LANES; l++) {
        sum += exchangedScores[place_of_own(r, k, l ^ lane) * THREADS + invocation - lane + l];
      }
      (*own)[r * OWN + k] = sum;
    }
  }
}

fn share_scores(own: ptr<function, OwnScores>, all: ptr<function, Scores>) {
  workgroupBarrier();
  for (var n = 0u; n < OWN_ROWS * OWN; n++) { exchangedOwn[n * THREADS + invocation] = (*own)[n]; }
  workgroupBarrier();
  for (var difference = 0u; difference < ROW_LANES * KEY_LANES; difference++) {
    for (var r = 0u; r < OWN_ROWS; r++) {
      for (var k = 0u; k < OWN; k++) {
        (*all)[place_of_own(r, k, difference)] = exchangedOwn[(r * OWN + k) * THREADS + (invocation ^ difference)];
      }
    }
  }
}

fn exchange_rows(values: ptr<function, OwnRows>) {
  workgroupBarrier();
  for (var r = 0u; r < OWN_ROWS; r++) { exchangedRows[r * THREADS + invocation] = (*values)[r]; }
  workgroupBarrier();
}

fn share_rows(own: ptr<function, OwnRows>, all: ptr<function, RowValues>) {
  exchange_rows(own);
  for (var m = 0u; m < ROW_LANES; m++) {
    for (var r = 0u; r < OWN_ROWS; r++) { (*all)[m * OWN_ROWS + r] = exchangedRows[r * THREADS + (invocation ^ m)]; }
  }
}

// Over the lanes that own the same rows.
fn max_of_lanes(values: ptr<function, OwnRows>) {
  exchange_rows(values);
  for (var r = 0u; r < OWN_ROWS; r++) {
    for (var l = 0u; l < KEY_LANES; l++) {
      (*values)[r] = max((*values)[r], exchangedRows[r * THREADS + (invocation ^ (l * ROW_LANES))]);
    }
  }
}

fn sum_of_lanes(values: ptr<function, OwnRows>) {
  exchange_rows(values);
  for (var r = 0u; r < OWN_ROWS; r++) {
    // The first of the lanes comes first everywhere: all of them round alike.
    let first = invocation - lane / ROW_LANES % KEY_LANES * ROW_LANES;
    var sum = 0.0;
    for (var l = 0u; l < KEY_LANES; l++) { sum += exchangedRows[r * THREADS + first + l * ROW_LANES]; }
    (*values)[r] = sum;
  }
}
