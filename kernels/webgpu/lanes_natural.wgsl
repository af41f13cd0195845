// For rows that lanes read from memory together: positions of a block keep their natural order, so that neighbouring lanes read
// neighbouring vectors; whole rows stay with every lane, and of each the lanes divide the block. Shuffles as in lanes_subgroup.
fn sum_to_owner(partial: ptr<function, Scores>, own: ptr<function, OwnScores>) {
  for (var step = 0u; step < KEY_STEPS; step++) { // unroll
    let upper = (lane & (KEY_LANES / (2u << step))) != 0u;
    for (var r = 0u; r < ROWS; r++) { // unroll
      for (var k = 0u; k < BLOCK / (2u << step); k++) { // unroll
        let n = r * BLOCK + k;
        let low = (*partial)[n];
        let high = (*partial)[n + BLOCK / (2u << step)];
        (*partial)[n] = select(low, high, upper) + subgroupShuffleXor(select(high, low, upper), KEY_LANES / (2u << step));
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) { // unroll
    for (var k = 0u; k < OWN; k++) { // unroll
      var sum = (*partial)[r * BLOCK + k];
      for (var step = 0u; step < COPY_STEPS; step++) { // unroll
        sum += subgroupShuffleXor(sum, u32(KEY_LANES) << step);
      }
      (*own)[r * OWN + k] = sum;
    }
  }
}

fn share_scores(own: ptr<function, OwnScores>, all: ptr<function, Scores>) {
  let first = subgroupLane & ~(LANES - 1u);
  for (var r = 0u; r < ROWS; r++) { // unroll
    for (var k = 0u; k < BLOCK; k++) { // unroll
      (*all)[r * BLOCK + k] = subgroupShuffle((*own)[r * OWN + k % OWN], first + k / OWN);
    }
  }
}

fn max_of_lanes(values: ptr<function, OwnRows>) {
  for (var step = 0u; step < KEY_STEPS; step++) { // unroll
    for (var r = 0u; r < ROWS; r++) { // unroll
      (*values)[r] = max((*values)[r], subgroupShuffleXor((*values)[r], 1u << step));
    }
  }
}

fn sum_of_lanes(values: ptr<function, OwnRows>) {
  for (var step = 0u; step < KEY_STEPS; step++) { // unroll
    for (var r = 0u; r < ROWS; r++) { // unroll
      (*values)[r] += subgroupShuffleXor((*values)[r], 1u << step);
    }
  }
}
