// Copies rows of a tfjs tensor into a texture whose texel holds 4 (float16: 8) values of one row, so that one fetch feeds
// 4 multiply-adds whatever the tensor's layout and packing. Rows lie in the order in which neighbouring fragments want them:
// x = (block · lanes + lane) · count + n holds row (block · count + n) · lanes + lane; y = head · TEXELS_STAGED + texel of the row.
uniform sampler2D uSource;
uniform ivec4 uSourceShape;
uniform ivec3 uStrides; // elements per batch, head, row
uniform ivec4 uRows; // count, lanes, first row, rows of the tensor
uniform ivec3 uHeads; // head (of all batches) = x + y · head of the texture; z: heads per batch
uniform float uFactor;
#if HAS_LENGTHS
uniform sampler2D uLengths;
uniform ivec4 uLengthsShape;
#endif

// Beyond WIDTH, and beyond the rows that exist, stands 0 and not what the tensor holds: it may be NaN.
#define LOAD(c) (exists && first + c < WIDTH ? LOAD_SOURCE(uSource, uSourceShape, base + first + c) * uFactor : 0.0)
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
  rows = int(clamp(LOAD_LENGTHS(uLengths, uLengthsShape, b), 0.0, float(rows)));
#endif
  bool exists = row < rows;
  int base = b * uStrides.x + (head - b * uHeads.z) * uStrides.y + row * uStrides.z;
#if HALF
  int first = (at.y - headInTexture * TEXELS_STAGED) * 8;
  target = uvec4(
    packHalf2x16(vec2(LOAD(0), LOAD(1))),
    packHalf2x16(vec2(LOAD(2), LOAD(3))),
    packHalf2x16(vec2(LOAD(4), LOAD(5))),
    packHalf2x16(vec2(LOAD(6), LOAD(7)))
  );
#else
  int first = (at.y - headInTexture * TEXELS_STAGED) * 4;
  target = vec4(LOAD(0), LOAD(1), LOAD(2), LOAD(3));
#endif
}
