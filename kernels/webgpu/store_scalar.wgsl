fn store_TENSOR(base: u32, c: u32, x: vec4f) {
  for (var n = 0u; n < 4u; n++) {
    if (4u * c + n < WIDTH) { TENSOR[base + 4u * c + n] = x[n]; }
  }
}
