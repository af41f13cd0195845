// In front of every fragment shader: precision, bit tests and reading of tfjs tensors.
precision highp float;
precision highp sampler2DArray;
precision highp usampler2DArray;

// NaN and −∞ are told by their bits: drivers may assume that arithmetic never meets them.
const uint MINUS_INFINITY_BITS = 0xff800000u;

float minus_infinity() {
  return uintBitsToFloat(MINUS_INFINITY_BITS);
}

float not_a_number() {
  return uintBitsToFloat(0x7fc00000u);
}

bool is_nan(float x) {
  return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u;
}

bvec4 is_hidden(vec4 x) {
  return equal(floatBitsToUint(x), uvec4(MINUS_INFINITY_BITS));
}

// A tfjs tensor with one value per texel; shape = (texture width, offset of the first value, –, –).
float load_unpacked(sampler2D values, ivec4 shape, int index) {
  int at = index + shape.y;
  return texelFetch(values, ivec2(at % shape.x, at / shape.x), 0).x;
}

// A tfjs tensor with 2 × 2 values per texel; shape = (texture width, –, rows, columns), place = (matrix, row, column).
float load_place(sampler2D values, ivec4 shape, ivec3 place) {
  int at = (place.x * ((shape.z + 1) >> 1) + (place.y >> 1)) * ((shape.w + 1) >> 1) + (place.z >> 1);
  vec4 texel = texelFetch(values, ivec2(at % shape.x, at / shape.x), 0);
  vec2 pair = (place.y & 1) == 0 ? texel.xy : texel.zw;
  return (place.z & 1) == 0 ? pair.x : pair.y;
}

float load_packed(sampler2D values, ivec4 shape, int index) {
  int flatRow = index / shape.w;
  return load_place(values, shape, ivec3(flatRow / shape.z, flatRow % shape.z, index % shape.w));
}

// Four values in a row, addressed once where they lie together.
#define ONE_BY_ONE(load) \
  vec4(load(values, shape, index), load(values, shape, index + 1), load(values, shape, index + 2), load(values, shape, index + 3))
vec4 load_four_unpacked(sampler2D values, ivec4 shape, int index) {
  int at = index + shape.y;
  int y = at / shape.x;
  int x = at - y * shape.x;
  if (x + 3 >= shape.x) return ONE_BY_ONE(load_unpacked);
  return vec4(
    texelFetch(values, ivec2(x, y), 0).x,
    texelFetch(values, ivec2(x + 1, y), 0).x,
    texelFetch(values, ivec2(x + 2, y), 0).x,
    texelFetch(values, ivec2(x + 3, y), 0).x
  );
}

vec4 load_four_packed(sampler2D values, ivec4 shape, int index) {
  int flatRow = index / shape.w;
  int column = index - flatRow * shape.w;
  if ((column & 1) == 1 || column + 3 >= shape.w) return ONE_BY_ONE(load_packed);
  int batch = flatRow / shape.z;
  int row = flatRow - batch * shape.z;
  int at = (batch * ((shape.z + 1) >> 1) + (row >> 1)) * ((shape.w + 1) >> 1) + (column >> 1);
  int y = at / shape.x;
  int x = at - y * shape.x;
  vec4 first = texelFetch(values, ivec2(x, y), 0);
  vec4 second = texelFetch(values, x + 1 < shape.x ? ivec2(x + 1, y) : ivec2(0, y + 1), 0);
  return (row & 1) == 0 ? vec4(first.xy, second.xy) : vec4(first.zw, second.zw);
}

// A pass that makes tiles has LANES targets. Their arrays are indexed by constants only: a dynamic index would move them out
// of registers.
#if LANES == 8
#define FOR_LANES(STEP) STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7)
#else
#define FOR_LANES(STEP) STEP(0) STEP(1) STEP(2) STEP(3)
#endif
#if LANES == 8
#define FOR_FOURS(STEP) STEP(0) STEP(4)
#else
#define FOR_FOURS(STEP) STEP(0)
#endif

uvec4 pack(vec4 low, vec4 high) {
  return uvec4(packHalf2x16(low.xy), packHalf2x16(low.zw), packHalf2x16(high.xy), packHalf2x16(high.zw));
}

// Rows of tensors staged by stage.frag: 4 float32 or, where HALF, 8 float16 per texel.
#define LOW(texel) vec4(unpackHalf2x16(texel.x), unpackHalf2x16(texel.y))
#define HIGH(texel) vec4(unpackHalf2x16(texel.z), unpackHalf2x16(texel.w))
#if HALF
#define STAGED usampler2DArray
#else
#define STAGED sampler2DArray
#endif
#define FETCH(values, x, y) texelFetch(values, ivec3(x, y, 0), 0)
