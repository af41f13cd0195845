fn load_TENSOR(base: u32, c: u32) -> vec4f {
  let d = 4u * c;
  var x = vec4f(0.0);
  if (d < WIDTH) { x.x = TENSOR[base + d]; }
  if (d + 1u < WIDTH) { x.y = TENSOR[base + d + 1u]; }
  if (d + 2u < WIDTH) { x.z = TENSOR[base + d + 2u]; }
  if (d + 3u < WIDTH) { x.w = TENSOR[base + d + 3u]; }
  return x;
}
