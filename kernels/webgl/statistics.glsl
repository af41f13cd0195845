// The online softmax's statistics (FlashAttention-2, Algorithm 1), a channel per row of a tile: layers rowMax (−∞ where nothing
// was seen), rowSum = Σ exp(score − rowMax), poison (1 where a NaN or +∞ was seen). A part's sums lie in one texture array,
// y = head · CHANNEL_GROUPS + group of channels, and its statistics below them, y = heads · CHANNEL_GROUPS + head.

// exp(before − after), 0 where there was nothing before.
vec4 rescaling(vec4 before, vec4 after) {
  return mix(exp(before - after), vec4(0.0), is_hidden(before));
}

// Takes NaN, and +∞ whose softmax is NaN, apart: max() may drop the one, and the other has no difference to itself.
vec4 set_apart(vec4 score, inout vec4 poison) {
  bvec4 bad = greaterThanEqual(floatBitsToUint(score) & 0x7fffffffu, uvec4(0x7f800000u));
  poison = mix(poison, mix(vec4(1.0), poison, is_hidden(score)), bad);
  return mix(score, vec4(minus_infinity()), bad);
}

// rowMax before the first key: the sink, if there is one.
vec4 first_max(int queryHead, inout vec4 poison) {
  vec4 rowMax = vec4(minus_infinity());
#if HAS_SINKS
  rowMax = set_apart(vec4(LOAD_SINKS(queryHead)), poison);
#endif
  return rowMax;
}
