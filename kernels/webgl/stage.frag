// Copies rows of a tfjs tensor into a texture whose texel holds 4 (float16: 8) values of one row, so that one fetch feeds
// 4 multiply-adds whatever the tensor's layout and packing. Rows lie in the order in which neighbouring fragments want them:
// x = (block · lanes + lane) · count + n holds row (block · count + n) · lanes + lane; y = head · TEXELS_STAGED + texel of the row.
// ROUNDED: float32 that holds what halves would, for gradients of what was computed on halves.
uniform ivec3 uStrides; // elements per batch, head, row
uniform ivec4 uRows; // count, lanes, first row, rows of the tensor
uniform ivec3 uHeads; // head (of all batches) = x + y · head of the texture; z: heads per batch
uniform float uFactor;

// Beyond WIDTH, and beyond the rows that exist, stands 0 and not what the tensor holds: it may be NaN.
vec4 load(bool exists, int base, int channel) {
  if (!exists || channel >= WIDTH) return vec4(0.0);
#if WIDTH % 4 == 0
  return LOAD_FOUR_SOURCE(base + channel) * uFactor;
#else
  vec4 values = vec4(0.0);
  for (int c = 0; c < min(4, WIDTH - channel); c++) values[c] = LOAD_SOURCE(base + channel + c) * uFactor;
  return values;
#endif
}

#if HALF
layout(location = 0) out uvec4 target;
#else
layout(location = 0) out vec4 target;
#endif

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int blockAndLane = at.x / uRows.x;
  int n = at.x - blockAndLane * uRows.x;
  int block = blockAndLane / uRows.y;
  int lane = blockAndLane - block * uRows.y;
  int row = uRows.z + (block * uRows.x + n) * uRows.y + lane;
  int headInTexture = at.y / TEXELS_STAGED;
  int head = uHeads.x + headInTexture * uHeads.y;
  int b = head / uHeads.z;
  int rows = uRows.w;
#if HAS_LENGTHS
  rows = int(clamp(LOAD_LENGTHS(b), 0.0, float(rows)));
#endif
  bool exists = row < rows;
  int base = b * uStrides.x + (head - b * uHeads.z) * uStrides.y + row * uStrides.z;
#if HALF
  int channel = (at.y - headInTexture * TEXELS_STAGED) * 8;
  vec4 low = load(exists, base, channel);
  vec4 high = load(exists, base, channel + 4);
  target = pack(low, high);
#else
  target = load(exists, base, (at.y - headInTexture * TEXELS_STAGED) * 4);
#if ROUNDED
  uvec4 halves = pack(target, target);
  target = LOW(halves);
#endif
#endif
}
