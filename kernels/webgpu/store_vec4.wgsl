fn store_TENSOR(base: u32, c: u32, x: vec4f) {
  if (c < WIDTH / 4u) { TENSOR[base / 4u + c] = x; }
}
