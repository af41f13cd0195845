// LANES neighbouring invocations share rows through subgroup shuffles; LANES divides every possible subgroup size.
// Partial sums are halved from step to step (reduce-scatter), first over the rows, then over the block.
fn sum_to_owner(partial: ptr<function, Scores>, own: ptr<function, OwnScores>) {
  for (var step = 0u; step < ROW_STEPS; step++) { // unroll
    for (var n = 0u; n < ROWS * BLOCK / (2u << step); n++) { // unroll
      (*partial)[n] += subgroupShuffleXor((*partial)[n + ROWS * BLOCK / (2u << step)], ROW_LANES / (2u << step));
    }
  }
  for (var step = 0u; step < KEY_STEPS; step++) { // unroll
    for (var r = 0u; r < OWN_ROWS; r++) { // unroll
      for (var k = 0u; k < BLOCK / (2u << step); k++) { // unroll
        let n = r * BLOCK + k;
        (*partial)[n] += subgroupShuffleXor((*partial)[n + BLOCK / (2u << step)], ROW_LANES * (KEY_LANES / (2u << step)));
      }
    }
  }
  for (var r = 0u; r < OWN_ROWS; r++) { // unroll
    for (var k = 0u; k < OWN; k++) { // unroll
      var sum = (*partial)[r * BLOCK + k];
      for (var step = 0u; step < COPY_STEPS; step++) { // unroll
        sum += subgroupShuffleXor(sum, (u32(ROW_LANES) * KEY_LANES) << step);
      }
      (*own)[r * OWN + k] = sum;
    }
  }
}

fn share_scores(own: ptr<function, OwnScores>, all: ptr<function, Scores>) {
  for (var m = 0u; m < ROW_LANES; m++) { // unroll
    for (var l = 0u; l < KEY_LANES; l++) { // unroll
      for (var r = 0u; r < OWN_ROWS; r++) { // unroll
        for (var k = 0u; k < OWN; k++) { // unroll
          var x = (*own)[r * OWN + k];
          if (m + l > 0u) { x = subgroupShuffleXor(x, m + l * ROW_LANES); }
          (*all)[(m * OWN_ROWS + r) * BLOCK + l * OWN + k] = x;
        }
      }
    }
  }
}

fn share_rows(own: ptr<function, OwnRows>, all: ptr<function, RowValues>) {
  for (var m = 0u; m < ROW_LANES; m++) { // unroll
    for (var r = 0u; r < OWN_ROWS; r++) { // unroll
      var x = (*own)[r];
      if (m > 0u) { x = subgroupShuffleXor(x, m); }
      (*all)[m * OWN_ROWS + r] = x;
    }
  }
}

// Over the lanes that own the same rows.
fn max_of_lanes(values: ptr<function, OwnRows>) {
  for (var step = 0u; step < KEY_STEPS; step++) { // unroll
    for (var r = 0u; r < OWN_ROWS; r++) { // unroll
      (*values)[r] = max((*values)[r], subgroupShuffleXor((*values)[r], u32(ROW_LANES) << step));
    }
  }
}

fn sum_of_lanes(values: ptr<function, OwnRows>) {
  for (var step = 0u; step < KEY_STEPS; step++) { // unroll
    for (var r = 0u; r < OWN_ROWS; r++) { // unroll
      (*values)[r] += subgroupShuffleXor((*values)[r], u32(ROW_LANES) << step);
    }
  }
}
