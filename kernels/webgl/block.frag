// Writes a block of tiles as a tfjs tensor [heads, rows, columns]: what the bias's gradient is summed from.
uniform sampler2DArray uTiles;
uniform ivec4 uTarget; // width of the tensor's texture, –, rows, columns
layout(location = 0) out vec4 target;

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int index = at.y * uTarget.x + at.x;
  int column = index % uTarget.w;
  int row = (index / uTarget.w) % uTarget.z;
  int head = index / uTarget.w / uTarget.z;
  int tile = row >> 2;
  int group = column / LANES;
  Place place = place_of(uChunk.x + tile, uChunk.y + head);
  ivec2 groups = groups_of_block(seen_by_tile(place));
  float value = 0.0; // groups that the tile does not see were not drawn
  if (group >= groups.x && group < groups.y) {
    value = texelFetch(uTiles, ivec3(tile, head * uChunk.z + group, column - group * LANES), 0)[row & 3];
  }
  target = vec4(value, 0.0, 0.0, 0.0);
}
