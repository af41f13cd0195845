// What the options make of one score: softcap → bias and ALiBi → visibility, as contract.md orders. Hidden is −∞. BIAS_…
// and MASK_ROWS and …_COLUMNS are 0 where all are alike, so that compilers see one address for the rows of a tile; …_IN_PLACE: the
// texture has the tensor's own rows and columns, so that a place needs no division by them.
#if HAS_SOFTCAP
uniform float uSoftcap;
#endif
#if HAS_BIAS
uniform ivec4 uBiasSizes; // matrices per batch and head, 0 where broadcast; rows and columns
#endif
#if HAS_MASK
uniform ivec4 uMaskSizes;
#endif
#if HAS_ALIBI
uniform int uSlopesPerBatch; // 0 or H
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
  ivec3 biasAt = ivec3(uBiasSizes.x * place.b + uBiasSizes.y * place.h, BIAS_ROWS * i, BIAS_COLUMNS * j);
  float bias = BIAS_IN_PLACE == 1 ? load_place(uBias, uBiasShape, biasAt) : LOAD_BIAS((biasAt.x * uBiasSizes.z + biasAt.y) * uBiasSizes.w + biasAt.z);
  visible = visible && floatBitsToUint(bias) != MINUS_INFINITY_BITS;
  score.x += bias;
#endif
#if HAS_ALIBI
  float slope = LOAD_SLOPES(place.b * uSlopesPerBatch + place.h);
  score.x -= slope * float(abs(i + place.offset - j));
#endif
#if HAS_MASK
  ivec3 maskAt = ivec3(uMaskSizes.x * place.b + uMaskSizes.y * place.h, MASK_ROWS * i, MASK_COLUMNS * j);
  float mask = MASK_IN_PLACE == 1 ? load_place(uMask, uMaskShape, maskAt) : LOAD_MASK((maskAt.x * uMaskSizes.z + maskAt.y) * uMaskSizes.w + maskAt.z);
  visible = visible && mask != 0.0;
#endif
#if HAS_SEGMENTS
  float querySegment = LOAD_QUERY_SEGMENTS(place.b * uSizes.y + i);
  float keySegment = LOAD_KEY_SEGMENTS(place.b * uSizes.z + j);
  visible = visible && querySegment == keySegment;
#endif
  return visible ? score : vec2(minus_infinity(), 0.0);
}
