fn load_TENSOR(base: u32, c: u32) -> vec4f {
  var x = vec4f(0.0);
  for (var n = 0u; n < 4u; n++) {
    if (4u * c + n < WIDTH) { x[n] = TENSOR[base + 4u * c + n]; }
  }
  return x;
}
