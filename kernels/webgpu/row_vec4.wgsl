fn load_TENSOR(base: u32, c: u32) -> vec4f {
  if (c >= WIDTH / 4u) { return vec4f(0.0); }
  return TENSOR[base / 4u + c];
}
