// What the options make of one score: softcap → bias and ALiBi → visibility, as contract.md orders. Hidden is −∞. BIAS_ROWS
// and MASK_ROWS are 0 where all rows are alike, so that compilers see one address for the rows of a tile.
#if HAS_SOFTCAP
uniform float uSoftcap;
#endif
#if HAS_BIAS
uniform sampler2D uBias;
uniform ivec4 uBiasShape;
uniform ivec4 uBiasStrides; // elements per batch, head, query, key; 0 where broadcast
#endif
#if HAS_MASK
uniform sampler2D uMask;
uniform ivec4 uMaskShape;
uniform ivec4 uMaskStrides;
#endif
#if HAS_ALIBI
uniform sampler2D uSlopes;
uniform ivec4 uSlopesShape;
uniform int uSlopesPerBatch; // 0 or H
#endif
#if HAS_SEGMENTS
uniform sampler2D uQuerySegments;
uniform sampler2D uKeySegments;
uniform ivec4 uQuerySegmentsShape;
uniform ivec4 uKeySegmentsShape;
#endif

// tanh with float32's relative error near 0, where exp-based forms lose it, and without overflow far away.
float exact_tanh(float x) {
  if (abs(x) < 0.3) {
    float s = x * x;
    return x * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
  }
  if (is_nan(x)) return x;
  float e = exp(-2.0 * min(abs(x), 20.0));
  return sign(x) * (1.0 - e) / (1.0 + e);
}

// x: the score after all options; y: the soft cap's derivative.
vec2 score_with_options(float product, Place place, int i, int j) {
  vec2 score = vec2(product, 1.0);
#if HAS_SOFTCAP
  float capped = exact_tanh(product / uSoftcap);
  score = vec2(uSoftcap * capped, 1.0 - capped * capped);
#endif
  bool visible = is_within(place, i, j);
#if HAS_BIAS || HAS_MASK || HAS_ALIBI || HAS_SEGMENTS
  if (!visible) return vec2(minus_infinity(), 0.0); // no read outside of the tensors
#endif
#if HAS_BIAS
  ivec4 biasAt = uBiasStrides * ivec4(place.b, place.h, BIAS_ROWS * i, j);
  float bias = LOAD_BIAS(uBias, uBiasShape, biasAt.x + biasAt.y + biasAt.z + biasAt.w);
  visible = visible && floatBitsToUint(bias) != MINUS_INFINITY_BITS;
  score.x += bias;
#endif
#if HAS_ALIBI
  float slope = LOAD_SLOPES(uSlopes, uSlopesShape, place.b * uSlopesPerBatch + place.h);
  score.x -= slope * float(abs(i + place.offset - j));
#endif
#if HAS_MASK
  ivec4 maskAt = uMaskStrides * ivec4(place.b, place.h, MASK_ROWS * i, j);
  visible = visible && LOAD_MASK(uMask, uMaskShape, maskAt.x + maskAt.y + maskAt.z + maskAt.w) != 0.0;
#endif
#if HAS_SEGMENTS
  float querySegment = LOAD_QUERY_SEGMENTS(uQuerySegments, uQuerySegmentsShape, place.b * uSizes.y + i);
  float keySegment = LOAD_KEY_SEGMENTS(uKeySegments, uKeySegmentsShape, place.b * uSizes.z + j);
  visible = visible && querySegment == keySegment;
#endif
  return visible ? score : vec2(minus_infinity(), 0.0);
}
