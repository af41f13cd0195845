// The statistics of the online softmax (FlashAttention-2, Algorithm 1) after one more block: layers rowMax, rowSum, poison.
uniform sampler2DArray uScores;
uniform sampler2DArray uState;
uniform int uIsFirst;
#if HAS_SINKS
uniform sampler2D uSinks;
uniform ivec4 uSinksShape;
#endif
layout(location = 0) out vec4 target[3];

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int head = at.y / SEGMENTS;
  int segment = at.y - head * SEGMENTS;
  Place place = place_of(at.x, head);
  vec4 rowMax = vec4(minus_infinity());
  vec4 rowSum = vec4(0.0);
  vec4 poison = vec4(0.0);
  if (uIsFirst == 0) {
    rowMax = texelFetch(uState, ivec3(at, 0), 0);
    rowSum = texelFetch(uState, ivec3(at, 1), 0);
    poison = texelFetch(uState, ivec3(at, 2), 0);
  }
#if HAS_SINKS
  if (uIsFirst == 1 && segment == 0) {
    float sink = LOAD_SINKS(uSinks, uSinksShape, place.h);
    uint bits = floatBitsToUint(sink);
    bool bad = (bits & 0x7fffffffu) >= 0x7f800000u;
    poison = vec4(bad && bits != MINUS_INFINITY_BITS ? 1.0 : 0.0);
    rowMax = vec4(bad ? minus_infinity() : sink);
    rowSum = vec4(bad ? 0.0 : 1.0);
  }
#endif

  ivec2 groups = groups_of_block(seen_by_tile(place));
  int perSegment = (uChunk.z + SEGMENTS - 1) / SEGMENTS;
  int from = max(groups.x, segment * perSegment);
  int to = min(groups.y, (segment + 1) * perSegment);
  int y = (head - uChunk.y) * uChunk.z;
  for (int group = from; group < to; group++) {
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
    rowSum *= rescaling(rowMax, newMax);
#define ADD(lane) rowSum += rescaling(scores[lane], newMax);
    FOR_LANES(ADD)
    rowMax = newMax;
  }
  target[0] = rowMax;
  target[1] = rowSum;
  target[2] = poison;
}
