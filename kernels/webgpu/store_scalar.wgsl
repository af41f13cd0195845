fn store_TENSOR(base: u32, c: u32, x: vec4f) {
  let d = 4u * c;
  if (d < WIDTH) { TENSOR[base + d] = x.x; }
  if (d + 1u < WIDTH) { TENSOR[base + d + 1u] = x.y; }
  if (d + 2u < WIDTH) { TENSOR[base + d + 2u] = x.z; }
  if (d + 3u < WIDTH) { TENSOR[base + d + 3u] = x.w; }
}
