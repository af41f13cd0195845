// LANES neighbouring invocations share rows through subgroup shuffles; LANES divides every possible subgroup size.
// Partial sums are halved from step to step (reduce-scatter), so that each lane ends with BLOCK / LANES keys of its own.
fn add_halves(partial: ptr<function, Scores>, width: u32) {
  for (var r = 0u; r < ROWS; r++) { // unroll
    (*partial)[r * BLOCK] += subgroupShuffleXor((*partial)[r * BLOCK], width);
  }
}

fn sum_to_owner(partial: ptr<function, Scores>, own: ptr<function, OwnScores>) {
  if (LANES > 16u) {
    let upper = (lane & 16u) != 0u;
    for (var r = 0u; r < ROWS; r++) { // unroll
      for (var k = 0u; k < HALF_16; k++) { // unroll
        let low = (*partial)[r * BLOCK + k];
        let high = (*partial)[r * BLOCK + k + HALF_16];
        (*partial)[r * BLOCK + k] = select(low, high, upper) + subgroupShuffleXor(select(high, low, upper), 16u);
      }
    }
    if (BLOCK * 16u < LANES) { add_halves(partial, 16u); }
  }
  if (LANES > 8u) {
    let upper = (lane & 8u) != 0u;
    for (var r = 0u; r < ROWS; r++) { // unroll
      for (var k = 0u; k < HALF_8; k++) { // unroll
        let low = (*partial)[r * BLOCK + k];
        let high = (*partial)[r * BLOCK + k + HALF_8];
        (*partial)[r * BLOCK + k] = select(low, high, upper) + subgroupShuffleXor(select(high, low, upper), 8u);
      }
    }
    if (BLOCK * 8u < LANES) { add_halves(partial, 8u); }
  }
  if (LANES > 4u) {
    let upper = (lane & 4u) != 0u;
    for (var r = 0u; r < ROWS; r++) { // unroll
      for (var k = 0u; k < HALF_4; k++) { // unroll
        let low = (*partial)[r * BLOCK + k];
        let high = (*partial)[r * BLOCK + k + HALF_4];
        (*partial)[r * BLOCK + k] = select(low, high, upper) + subgroupShuffleXor(select(high, low, upper), 4u);
      }
    }
    if (BLOCK * 4u < LANES) { add_halves(partial, 4u); }
  }
  if (LANES > 2u) {
    let upper = (lane & 2u) != 0u;
    for (var r = 0u; r < ROWS; r++) { // unroll
      for (var k = 0u; k < HALF_2; k++) { // unroll
        let low = (*partial)[r * BLOCK + k];
        let high = (*partial)[r * BLOCK + k + HALF_2];
        (*partial)[r * BLOCK + k] = select(low, high, upper) + subgroupShuffleXor(select(high, low, upper), 2u);
      }
    }
    if (BLOCK * 2u < LANES) { add_halves(partial, 2u); }
  }
  if (LANES > 1u) {
    let upper = (lane & 1u) != 0u;
    for (var r = 0u; r < ROWS; r++) { // unroll
      for (var k = 0u; k < HALF_1; k++) { // unroll
        let low = (*partial)[r * BLOCK + k];
        let high = (*partial)[r * BLOCK + k + HALF_1];
        (*partial)[r * BLOCK + k] = select(low, high, upper) + subgroupShuffleXor(select(high, low, upper), 1u);
      }
    }
    if (BLOCK * 1u < LANES) { add_halves(partial, 1u); }
  }
  for (var r = 0u; r < ROWS; r++) { // unroll
    for (var k = 0u; k < OWN; k++) { // unroll
      (*own)[r * OWN + k] = (*partial)[r * BLOCK + k];
    }
  }
}

fn share_scores(own: ptr<function, OwnScores>, all: ptr<function, Scores>) {
  let first = subgroupLane & ~(LANES - 1u);
  for (var r = 0u; r < ROWS; r++) { // unroll
    for (var k = 0u; k < BLOCK; k++) { // unroll
      (*all)[r * BLOCK + k] = subgroupShuffle((*own)[r * OWN + k % OWN], first + owner_of(k));
    }
  }
}

fn max_of_lanes(values: ptr<function, RowValues>) {
  for (var r = 0u; r < ROWS; r++) { // unroll
    if (LANES > 1u) { (*values)[r] = max((*values)[r], subgroupShuffleXor((*values)[r], 1u)); }
    if (LANES > 2u) { (*values)[r] = max((*values)[r], subgroupShuffleXor((*values)[r], 2u)); }
    if (LANES > 4u) { (*values)[r] = max((*values)[r], subgroupShuffleXor((*values)[r], 4u)); }
    if (LANES > 8u) { (*values)[r] = max((*values)[r], subgroupShuffleXor((*values)[r], 8u)); }
    if (LANES > 16u) { (*values)[r] = max((*values)[r], subgroupShuffleXor((*values)[r], 16u)); }
  }
}

fn sum_of_lanes(values: ptr<function, RowValues>) {
  for (var r = 0u; r < ROWS; r++) { // unroll
    if (LANES > 1u) { (*values)[r] += subgroupShuffleXor((*values)[r], 1u); }
    if (LANES > 2u) { (*values)[r] += subgroupShuffleXor((*values)[r], 2u); }
    if (LANES > 4u) { (*values)[r] += subgroupShuffleXor((*values)[r], 4u); }
    if (LANES > 8u) { (*values)[r] += subgroupShuffleXor((*values)[r], 8u); }
    if (LANES > 16u) { (*values)[r] += subgroupShuffleXor((*values)[r], 16u); }
  }
}
