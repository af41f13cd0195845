// LANES neighbouring invocations share rows through workgroup memory, for devices without subgroups.
// A barrier before each write keeps it from overtaking the reads of the exchange before it.
var<workgroup> exchangedScores: array<f32, THREADS * ROWS * BLOCK>;
var<workgroup> exchangedOwn: array<f32, THREADS * ROWS * OWN>;
var<workgroup> exchangedRows: array<f32, THREADS * ROWS>;

fn sum_to_owner(partial: ptr<function, Scores>, own: ptr<function, OwnScores>) {
  workgroupBarrier();
  for (var n = 0u; n < ROWS * BLOCK; n++) { exchangedScores[n * THREADS + invocation] = (*partial)[n]; }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) {
    for (var k = 0u; k < OWN; k++) {
      var sum = 0.0;
      for (var l = 0u; l < LANES; l++) {
        sum += exchangedScores[(r * BLOCK + first_own() + k) * THREADS + invocation - lane + l];
      }
      (*own)[r * OWN + k] = sum;
    }
  }
}

fn share_scores(own: ptr<function, OwnScores>, all: ptr<function, Scores>) {
  workgroupBarrier();
  for (var n = 0u; n < ROWS * OWN; n++) { exchangedOwn[n * THREADS + invocation] = (*own)[n]; }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) {
    for (var k = 0u; k < BLOCK; k++) {
      (*all)[r * BLOCK + k] = exchangedOwn[(r * OWN + k % OWN) * THREADS + invocation - lane + owner_of(k)];
    }
  }
}

fn exchange_rows(values: ptr<function, RowValues>) {
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) { exchangedRows[r * THREADS + invocation] = (*values)[r]; }
  workgroupBarrier();
}

fn max_of_lanes(values: ptr<function, RowValues>) {
  exchange_rows(values);
  for (var r = 0u; r < ROWS; r++) {
    for (var l = 0u; l < LANES; l++) { (*values)[r] = max((*values)[r], exchangedRows[r * THREADS + invocation - lane + l]); }
  }
}

fn sum_of_lanes(values: ptr<function, RowValues>) {
  exchange_rows(values);
  for (var r = 0u; r < ROWS; r++) {
    var sum = 0.0;
    for (var l = 0u; l < LANES; l++) { sum += exchangedRows[r * THREADS + invocation - lane + l]; }
    (*values)[r] = sum;
  }
}
