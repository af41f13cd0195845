// The online softmax's statistics (FlashAttention-2, Algorithm 1) after one more block: one fragment per tile of 4 rows, a
// channel per row. Layers: rowMax, rowSum, factor on the output so far, and 1 where the row has seen a NaN or +∞.
uniform sampler2DArray uScores;
uniform sampler2DArray uState;
uniform int uIsFirst;
#if HAS_SINKS
uniform sampler2D uSinks;
uniform ivec4 uSinksShape;
#endif
layout(location = 0) out vec4 target[4];

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  Place place = place_of(at.x, at.y);
  vec4 rowMax = vec4(minus_infinity());
  vec4 rowSum = vec4(0.0);
  vec4 poison = vec4(0.0);
  if (uIsFirst == 0) {
    rowMax = texelFetch(uState, ivec3(at, 0), 0);
    rowSum = texelFetch(uState, ivec3(at, 1), 0);
    poison = texelFetch(uState, ivec3(at, 3), 0);
  }
#if HAS_SINKS
  if (uIsFirst == 1) {
    float sink = LOAD_SINKS(uSinks, uSinksShape, place.h);
    uint bits = floatBitsToUint(sink);
    rowMax = vec4(sink);
    rowSum = vec4(bits == MINUS_INFINITY_BITS ? 0.0 : 1.0);
    poison = vec4((bits & 0x7fffffffu) >= 0x7f800000u && bits != MINUS_INFINITY_BITS ? 1.0 : 0.0);
  }
#endif

  ivec2 groups = groups_of_block(seen_by_tile(place));
  int y = (at.y - uChunk.y) * uChunk.z;
  vec4 before = rowMax;
  for (int group = groups.x; group < groups.y; group++) {
    vec4 scores[LANES];
    vec4 newMax = rowMax;
    // NaN, and +∞ whose softmax is NaN, are kept apart: max() may drop the one, and the other has no difference to itself.
#define READ(lane) { \
      vec4 score = texelFetch(uScores, ivec3(at.x - uChunk.x, y + group, lane), 0); \
      bvec4 bad = greaterThanEqual(floatBitsToUint(score) & 0x7fffffffu, uvec4(0x7f800000u)); \
      poison = mix(poison, mix(vec4(1.0), poison, is_hidden(score)), bad); \
      scores[lane] = mix(score, vec4(minus_infinity()), bad); \
      newMax = max(newMax, scores[lane]); \
    }
    FOR_LANES(READ)
    rowSum = mix(rowSum * exp(rowMax - newMax), vec4(0.0), is_hidden(rowMax));
#define ADD(lane) rowSum += mix(exp(scores[lane] - newMax), vec4(0.0), is_hidden(scores[lane]));
    FOR_LANES(ADD)
    rowMax = newMax;
  }
  target[0] = rowMax;
  target[1] = rowSum;
  target[2] = mix(exp(before - rowMax), vec4(0.0), is_hidden(before));
  target[3] = poison;
}
