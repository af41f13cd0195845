// Dropout's factors of a lane's own places, where the rows are queries: four neighbouring keys from one draw.
fn keep_factors(info: ptr<function, array<Row, OWN_ROWS>>, ownKey: i32, keep: ptr<function, OwnScores>) {
  for (var r = 0u; r < OWN_ROWS; r++) { // unroll
    for (var quad = 0u; quad < QUADS; quad++) { // unroll
      var words = vec4u(0u);
      if (HAS_DROPOUT) { words = random_words((*info)[r], ownKey + i32(4u * quad)); }
      for (var k = 0u; k < OWN / QUADS; k++) { // unroll
        // Fewer than four keys lie anywhere in their quad.
        let word = words[k + select(0u, u32(ownKey) % 4u, OWN < 4)];
        (*keep)[r * OWN + 4u * quad + k] = select(1.0, select(u.keepScale, 0.0, word < u.dropBelow), HAS_DROPOUT);
      }
    }
  }
}
