// Which places of the scores a tile holds and which of them are visible. A tile has 4 rows of one side and walks over the
// other side in groups of LANES rows. TILES_OF_KEYS 0: tiles of queries over keys; 1: tiles of keys over queries.
uniform ivec4 uSizes; // H, Sq, Sk, –
uniform ivec3 uWindow; // left, right (−1: no bound), key position of query 0
uniform ivec4 uPart; // tiles in a row of the part's textures, first tile row, first head, heads
uniform ivec4 uChunk; // first tile and first head of the chunk in the part, groups per block, first row of the block
uniform ivec2 uStarted; // tiles of the part, from and to, that hold sums of earlier blocks
uniform ivec2 uQueryHead; // query head (of all batches) = tile head · x + y

struct Place {
  int b;
  int h; // query head
  int row; // first of the tile's 4 rows
  int offset; // key position of query 0
  int keys; // keys at or after this are invisible
};

Place place_of(int tile, int headInPart) {
  int queryHead = (uPart.z + headInPart) * uQueryHead.x + uQueryHead.y;
  Place place;
  place.b = queryHead / uSizes.x;
  place.h = queryHead % uSizes.x;
  place.row = uPart.y + 4 * tile;
  place.offset = uWindow.z;
  place.keys = uSizes.z;
#if HAS_OFFSETS
  // Clamped like the option that is a number: sums with window and positions stay inside int32.
  place.offset = int(clamp(LOAD_OFFSETS(place.b), -1073741824.0, 1073741824.0));
#endif
#if HAS_LENGTHS
  place.keys = int(clamp(LOAD_LENGTHS(place.b), 0.0, float(uSizes.z)));
#endif
  return place;
}

bool is_started(int tile) {
  return tile >= uStarted.x && tile < uStarted.y;
}

// The rows [from, to) of the other side that some row of the tile can see; masks and segments come on top.
ivec2 seen_by_tile(Place place) {
  int first = place.row;
  int last = place.row + 3;
#if TILES_OF_KEYS
  if (first >= place.keys) return ivec2(0);
  int from = uWindow.y < 0 ? 0 : max(0, first - place.offset - uWindow.y);
  int to = uWindow.x < 0 ? uSizes.y : min(uSizes.y, last - place.offset + uWindow.x + 1);
#else
  int from = uWindow.x < 0 ? 0 : max(0, first + place.offset - uWindow.x);
  int to = uWindow.y < 0 ? place.keys : min(place.keys, last + place.offset + uWindow.y + 1);
#endif
  return ivec2(from, max(from, to));
}

// The groups [from, to) of the current block that hold a row in `seen`.
ivec2 groups_of_block(ivec2 seen) {
  int from = max(0, seen.x - uChunk.w) / LANES;
  int to = (max(0, seen.y - uChunk.w) + LANES - 1) / LANES;
  return seen.x < seen.y ? ivec2(from, min(uChunk.z, to)) : ivec2(0);
}

bool is_within(Place place, int i, int j) {
  int distance = j - i - place.offset;
  return j < place.keys && i < uSizes.y && (uWindow.x < 0 || -distance <= uWindow.x) && (uWindow.y < 0 || distance <= uWindow.y);
}
