// Online softmax over one block (Dao 2023, algorithm 1): scores become probabilities under the rows' new maxima, and what the rows
// have gathered is rescaled to these.
fn attend(
  own: ptr<function, OwnScores>,
  info: ptr<function, array<Row, OWN_ROWS>>,
  ownKey: i32,
  isEdge: bool,
  rowMax: ptr<function, OwnRows>,
  rowSum: ptr<function, OwnRows>,
  poison: ptr<function, OwnRows>,
  output: ptr<function, array<vec4f, ROWS * V_SLICE>>,
) {
  for (var r = 0u; r < OWN_ROWS; r++) { // unroll
    for (var k = 0u; k < OWN; k++) { // unroll
      (*own)[r * OWN + k] = score_at((*own)[r * OWN + k], (*info)[r], ownKey + i32(k));
    }
  }
  if (HAS_SEGMENTS || HAS_MASK) {
    for (var r = 0u; r < OWN_ROWS; r++) { // unroll
      for (var k = 0u; k < OWN; k++) { // unroll
        let hidden = is_excluded((*info)[r], ownKey + i32(k));
        (*own)[r * OWN + k] = select((*own)[r * OWN + k], u.negativeInfinity, hidden);
      }
    }
  }
  if (isEdge) {
    for (var r = 0u; r < OWN_ROWS; r++) { // unroll
      for (var k = 0u; k < OWN; k++) { // unroll
        let hidden = is_outside((*info)[r], ownKey + i32(k));
        (*own)[r * OWN + k] = select((*own)[r * OWN + k], u.negativeInfinity, hidden);
      }
    }
  }
  var newMax: OwnRows = *rowMax;
  for (var r = 0u; r < OWN_ROWS; r++) { // unroll
    for (var k = 0u; k < OWN; k++) { // unroll
      newMax[r] = max(newMax[r], (*own)[r * OWN + k]);
    }
  }
  max_of_lanes(&newMax);
  var ownCorrections: OwnRows;
  for (var r = 0u; r < OWN_ROWS; r++) { // unroll
    ownCorrections[r] = exp_of_score((*rowMax)[r] - newMax[r]);
    (*rowMax)[r] = newMax[r];
    (*rowSum)[r] *= ownCorrections[r];
    for (var k = 0u; k < OWN; k++) { // unroll
      let s = (*own)[r * OWN + k];
      let p = exp_of_score(s - newMax[r]);
      (*poison)[r] = add_poison((*poison)[r], s);
      (*rowSum)[r] += p;
      (*own)[r * OWN + k] = p;
    }
  }
  if (HAS_DROPOUT) {
    var keep: OwnScores;
    keep_factors(info, ownKey, &keep);
    for (var n = 0u; n < OWN_ROWS * OWN; n++) { // unroll
      (*own)[n] *= keep[n];
    }
  }
  var corrections: RowValues;
  share_rows(&ownCorrections, &corrections);
  for (var r = 0u; r < ROWS; r++) { // unroll
    for (var c = 0u; c < V_SLICE; c++) { // unroll
      (*output)[r * V_SLICE + c] *= corrections[r];
    }
  }
}
