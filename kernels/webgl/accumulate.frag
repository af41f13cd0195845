// sums[row][channel] = sums before + Σ over the block's columns of weight[row][column] · values[column][channel]: the output
// of the forward pass (FlashAttention-2, Algorithm 1; weight = exp(score − rowMax), sums rescaled whenever rowMax grows), or a
// gradient (Algorithm 2). A fragment makes 4 rows × LANES channels: per column one fetch of weights and LANES / 4 of values; of
// halves, half of both. It follows rowMax by itself, since its weights pass by anyway, and waits for no pass of statistics.
#if FORWARD && HALF
uniform usampler2DArray uWeights; // as tile.frag packs them
uniform sampler2DArray uGroups;
#else
uniform sampler2DArray uWeights;
#endif
uniform sampler2DArray uState;
uniform STAGED uValues;
uniform ivec3 uOtherSide; // as in tile.frag
layout(location = 0) out vec4 target[LANES];

#define ADD_FOUR(c, v) \
    sums[c] += weight * v.x; sums[c + 1] += weight * v.y; sums[c + 2] += weight * v.z; sums[c + 3] += weight * v.w;
#if HALF && LANES == 8
#define ADD_VALUES(x) { uvec4 v = FETCH(uValues, x, valuesY); vec4 low = LOW(v); vec4 high = HIGH(v); ADD_FOUR(0, low) ADD_FOUR(4, high) }
#elif HALF
#define ADD_VALUES(x) { uvec4 v = FETCH(uValues, x, valuesY); vec4 low = (channelGroup & 1) == 0 ? LOW(v) : HIGH(v); ADD_FOUR(0, low) }
#elif LANES == 8
#define ADD_VALUES(x) { \
    vec4 low = FETCH(uValues, x, valuesY); \
    vec4 high = FETCH(uValues, x, valuesY + 1); \
    ADD_FOUR(0, low) \
    ADD_FOUR(4, high) }
#else
#define ADD_VALUES(x) { vec4 low = FETCH(uValues, x, valuesY); ADD_FOUR(0, low) }
#endif

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int head = at.y / CHANNEL_GROUPS;
  int channelGroup = at.y - head * CHANNEL_GROUPS;
  Place place = place_of(at.x, head);
  bool isStarted = is_started(at.x);
  vec4 sums[LANES];
#define CLEAR(c) sums[c] = vec4(0.0);
  FOR_LANES(CLEAR)
#define CONTINUE(c) sums[c] = texelFetch(uState, ivec3(at, c), 0);
  if (isStarted) {
    FOR_LANES(CONTINUE)
  }
#if FORWARD
  vec4 poison = vec4(0.0); // a matter of the statistics: where it is 1, rowMax may be anything
  vec4 rowMax = first_max(place.h, poison);
  if (isStarted) rowMax = texelFetch(uState, ivec3(at.x, uPart.w * CHANNEL_GROUPS + head, 0), 0);
#endif

  ivec2 groups = groups_of_block(seen_by_tile(place));
  int tileX = at.x - uChunk.x;
  int tileY = (head - uChunk.y) * uChunk.z;
  int otherHead = (uPart.z + head) / uOtherSide.y - uOtherSide.z;
  int valuesY = otherHead * VALUE_TEXELS_STAGED + channelGroup * LANES / (4 + 4 * HALF);
  for (int group = groups.x; group < groups.y; group++) {
    vec4 weights[LANES];
#if FORWARD && HALF
    vec4 groupMax = texelFetch(uGroups, ivec3(tileX, tileY + group, 0), 0);
    vec4 newMax = max(rowMax, groupMax);
    vec4 share = rescaling(groupMax, newMax);
#define READ(four) { \
      uvec4 first = texelFetch(uWeights, ivec3(tileX, tileY + group, four / 2), 0); \
      uvec4 second = texelFetch(uWeights, ivec3(tileX, tileY + group, four / 2 + 1), 0); \
      weights[four] = LOW(first) * share; weights[four + 1] = HIGH(first) * share; \
      weights[four + 2] = LOW(second) * share; weights[four + 3] = HIGH(second) * share; }
    FOR_FOURS(READ)
#else
#define READ(lane) weights[lane] = texelFetch(uWeights, ivec3(tileX, tileY + group, lane), 0);
    FOR_LANES(READ)
#endif
#if FORWARD && !HALF
    vec4 newMax = rowMax;
#define GROW(lane) newMax = max(newMax, weights[lane]);
    FOR_LANES(GROW)
#define WEIGH(lane) weights[lane] = rescaling(weights[lane], newMax);
    FOR_LANES(WEIGH)
#endif
#if FORWARD
    if (newMax != rowMax) {
      vec4 factor = rescaling(rowMax, newMax);
#define RESCALE(c) sums[c] *= factor;
      FOR_LANES(RESCALE)
      rowMax = newMax;
    }
#if HAS_DROPOUT
#define DROP(four) { \
      mat4 kept = dropout_tile(place, uChunk.w + group * LANES + four); \
      weights[four] *= kept[0]; weights[four + 1] *= kept[1]; weights[four + 2] *= kept[2]; weights[four + 3] *= kept[3]; }
    FOR_FOURS(DROP)
#endif
#endif
#define ADD_COLUMN(lane) { \
      vec4 weight = weights[lane]; \
      ADD_VALUES(uOtherSide.x + lane * uChunk.z + group) \
    }
    FOR_LANES(ADD_COLUMN)
  }
#define WRITE(c) target[c] = sums[c];
  FOR_LANES(WRITE)
}
