// sums[row][channel] = factor[row] · sums before + Σ over the block's columns of weight[row][column] · values[column][channel]:
// the output of the forward pass (FlashAttention-2, Algorithm 1; weight = exp(score − rowMax)), or a gradient (Algorithm 2).
// A fragment makes 4 rows × LANES channels: per column one fetch of weights and LANES / 4 (float16: LANES / 8) of values.
uniform sampler2DArray uWeights;
uniform sampler2DArray uState;
#if FORWARD
uniform sampler2DArray uStatistics;
uniform sampler2DArray uStatisticsBefore;
#endif
uniform STAGED uValues;
uniform ivec3 uOtherSide; // as in tile.frag
uniform int uIsFirst;
layout(location = 0) out vec4 target[LANES];

#define ADD_FOUR(c, v) \
    sums[c] += weight * v.x; sums[c + 1] += weight * v.y; sums[c + 2] += weight * v.z; sums[c + 3] += weight * v.w;
#if HALF
#define ADD_VALUES(x) { uvec4 v = FETCH(uValues, x, valuesY); vec4 low = LOW(v); vec4 high = HIGH(v); ADD_FOUR(0, low) ADD_FOUR(4, high) }
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
  vec4 sums[LANES];
#define CLEAR(c) sums[c] = vec4(0.0);
  FOR_LANES(CLEAR)
#if FORWARD
  vec4 rowMax = merged_max(uStatistics, at.x, head);
  vec4 factor = uIsFirst == 1 ? vec4(0.0) : rescaling(merged_max(uStatisticsBefore, at.x, head), rowMax);
#define CONTINUE(c) sums[c] = factor * texelFetch(uState, ivec3(at, c), 0);
#else
#define CONTINUE(c) sums[c] = texelFetch(uState, ivec3(at, c), 0);
#endif
  if (uIsFirst == 0) {
    FOR_LANES(CONTINUE)
  }

  ivec2 groups = groups_of_block(seen_by_tile(place));
  int tileX = at.x - uChunk.x;
  int tileY = (head - uChunk.y) * uChunk.z;
  int otherHead = (uPart.z + head) / uOtherSide.y - uOtherSide.z;
  int valuesY = otherHead * VALUE_TEXELS_STAGED + channelGroup * TEXELS_PER_GROUP;
  for (int group = groups.x; group < groups.y; group++) {
#if FORWARD && HAS_DROPOUT
    vec4 kept[LANES];
#define KEEP(lane) { \
      mat4 factors = dropout_tile(place, uChunk.w + group * LANES + lane); \
      kept[lane] = factors[0]; kept[lane + 1] = factors[1]; kept[lane + 2] = factors[2]; kept[lane + 3] = factors[3]; \
    }
    FOR_FOURS(KEEP)
#define WEIGH(lane) weight = rescaling(weight, rowMax) * kept[lane];
#elif FORWARD
#define WEIGH(lane) weight = rescaling(weight, rowMax);
#else
#define WEIGH(lane)
#endif
#define ADD_COLUMN(lane) { \
      vec4 weight = texelFetch(uWeights, ivec3(tileX, tileY + group, lane), 0); \
      WEIGH(lane) \
      ADD_VALUES(uOtherSide.x + lane * uChunk.z + group) \
    }
    FOR_LANES(ADD_COLUMN)
  }
#define WRITE(c) target[c] = sums[c];
  FOR_LANES(WRITE)
}
