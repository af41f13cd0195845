// Writes a block of tiles as a tfjs tensor [heads, rows, columns], summed over the axes that FOLD_* names, in a fixed order:
// what the bias's gradient is made of.
uniform sampler2DArray uTiles;
uniform ivec4 uTarget; // width of the tensor's texture; heads, rows and columns of the block
layout(location = 0) out vec4 target;

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int rest = at.y * uTarget.x + at.x;
#if FOLD_COLUMNS
  ivec2 groupRange = ivec2(0, uChunk.z);
  ivec2 laneRange = ivec2(0, LANES);
#else
  int column = rest % uTarget.w;
  rest /= uTarget.w;
  ivec2 groupRange = ivec2(column / LANES, column / LANES + 1);
  ivec2 laneRange = ivec2(column % LANES, column % LANES + 1);
#endif
#if FOLD_ROWS
  ivec2 tileRange = ivec2(0, (uTarget.z + 3) >> 2);
  vec4 rowWeights = vec4(1.0); // rows beyond the last are 0 already
#else
  int row = rest % uTarget.z;
  rest /= uTarget.z;
  ivec2 tileRange = ivec2(row >> 2, (row >> 2) + 1);
  vec4 rowWeights = vec4(equal(ivec4(row & 3), ivec4(0, 1, 2, 3)));
#endif
#if FOLD_HEADS
  ivec2 headRange = ivec2(0, uTarget.y);
#else
  ivec2 headRange = ivec2(rest, rest + 1);
#endif

  float sum = 0.0;
  for (int head = headRange.x; head < headRange.y; head++) {
    for (int tile = tileRange.x; tile < tileRange.y; tile++) {
      // Groups that the tile does not see were not drawn.
      ivec2 groups = groups_of_block(seen_by_tile(place_of(uChunk.x + tile, uChunk.y + head)));
      for (int group = max(groupRange.x, groups.x); group < min(groupRange.y, groups.y); group++) {
        for (int lane = laneRange.x; lane < laneRange.y; lane++) {
          vec4 rows = texelFetch(uTiles, ivec3(tile, head * uChunk.z + group, lane), 0);
          sum += dot(mix(vec4(0.0), rows, greaterThan(rowWeights, vec4(0.0))), vec4(1.0));
        }
      }
    }
  }
  target = vec4(sum, 0.0, 0.0, 0.0);
}
