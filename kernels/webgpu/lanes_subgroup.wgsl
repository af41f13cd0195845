// LANES neighbouring invocations share rows through subgroup shuffles; LANES divides every possible subgroup size.
// Partial sums are halved from step to step (reduce-scatter), so that each lane ends with BLOCK / LANES keys of its own.
fn halve(partial: ptr<function, Scores>, width: u32) {
  if (BLOCK * width < LANES) {
    for (var r = 0u; r < ROWS; r++) { (*partial)[r * BLOCK] += subgroupShuffleXor((*partial)[r * BLOCK], width); }
    return;
  }
  let upper = (lane & width) != 0u;
  let kept = BLOCK * width / LANES;
  for (var r = 0u; r < ROWS; r++) {
    for (var k = 0u; k < kept; k++) {
      let low = (*partial)[r * BLOCK + k];
      let high = (*partial)[r * BLOCK + k + kept];
      (*partial)[r * BLOCK + k] = select(low, high, upper) + subgroupShuffleXor(select(high, low, upper), width);
    }
  }
}

fn sum_to_owner(partial: ptr<function, Scores>, own: ptr<function, OwnScores>) {
  if (LANES > 16u) { halve(partial, 16u); }
  if (LANES > 8u) { halve(partial, 8u); }
  if (LANES > 4u) { halve(partial, 4u); }
  if (LANES > 2u) { halve(partial, 2u); }
  if (LANES > 1u) { halve(partial, 1u); }
  for (var r = 0u; r < ROWS; r++) {
    for (var k = 0u; k < OWN; k++) { (*own)[r * OWN + k] = (*partial)[r * BLOCK + k]; }
  }
}

fn share_scores(own: ptr<function, OwnScores>, all: ptr<function, Scores>) {
  let first = subgroupLane & ~(LANES - 1u);
  for (var r = 0u; r < ROWS; r++) {
    for (var k = 0u; k < BLOCK; k++) {
      (*all)[r * BLOCK + k] = subgroupShuffle((*own)[r * OWN + k % OWN], first + owner_of(k));
    }
  }
}

fn max_of_lanes(values: ptr<function, RowValues>) {
  for (var r = 0u; r < ROWS; r++) {
    for (var width = 1u; width < LANES; width *= 2u) {
      (*values)[r] = max((*values)[r], subgroupShuffleXor((*values)[r], width));
    }
  }
}

fn sum_of_lanes(values: ptr<function, RowValues>) {
  for (var r = 0u; r < ROWS; r++) {
    for (var width = 1u; width < LANES; width *= 2u) { (*values)[r] += subgroupShuffleXor((*values)[r], width); }
  }
}
