// The statistics of the online softmax after one more block.
#if HALF
uniform sampler2DArray uGroups; // per group, as tile.frag writes them
#else
uniform sampler2DArray uScores;
#endif
uniform sampler2DArray uState;
layout(location = 0) out vec4 target[LANES]; // as many as the sums' pass has: nobody reads those beyond three

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int head = at.y - uPart.w * CHANNEL_GROUPS;
  Place place = place_of(at.x, head);
  vec4 poison = vec4(0.0);
  vec4 rowMax = first_max(place.h, poison);
  vec4 rowSum = vec4(not(is_hidden(rowMax)));
  if (is_started(at.x)) {
    rowMax = texelFetch(uState, ivec3(at, 0), 0);
    rowSum = texelFetch(uState, ivec3(at, 1), 0);
    poison = texelFetch(uState, ivec3(at, 2), 0);
  }

  ivec2 groups = groups_of_block(seen_by_tile(place));
  ivec2 from = ivec2(at.x - uChunk.x, (head - uChunk.y) * uChunk.z);
  for (int group = groups.x; group < groups.y; group++) {
#if HALF
    vec4 groupMax = set_apart(texelFetch(uGroups, ivec3(from.x, from.y + group, 0), 0), poison);
    vec4 groupSum = texelFetch(uGroups, ivec3(from.x, from.y + group, 1), 0);
#else
    vec4 scores[LANES];
    vec4 groupMax = vec4(minus_infinity());
    vec4 groupSum = vec4(0.0);
#define MEET(lane) \
    scores[lane] = set_apart(texelFetch(uScores, ivec3(from.x, from.y + group, lane), 0), poison); \
    groupMax = max(groupMax, scores[lane]);
    FOR_LANES(MEET)
#define COUNT(lane) groupSum += rescaling(scores[lane], groupMax);
    FOR_LANES(COUNT)
#endif
    vec4 newMax = max(rowMax, groupMax);
    rowSum = rowSum * rescaling(rowMax, newMax) + groupSum * rescaling(groupMax, newMax);
    rowMax = newMax;
  }
  target[0] = rowMax;
  target[1] = rowSum;
  target[2] = poison;
}
