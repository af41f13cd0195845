// One block of the scores matrix, or of what the backward pass makes of it: FlashAttention-2 (Dao 2023, Algorithms 1 and 2)
// with the tiles of a block in textures instead of shared memory. A fragment makes 4 rows × LANES columns, so that 4 + LANES
// fetches feed 16 · LANES multiply-adds. Layer = column, channel = row of the tile. HALF: two columns a layer, as halves of
// exp(score − the group's maximum), and that maximum (NaN where a NaN or +∞ is among them) and the group's sum beside them.
#define SCORES 0 // scores after all options; hidden is −∞
#define PROBABILITIES 1 // exp(score − lse), after dropout
#define DERIVATIVES 2 // gradient of q·k (WITH_CAP 1) or of the bias (WITH_CAP 0)
uniform STAGED uTile; // the tile side's q or k
uniform STAGED uOther; // the other side's
#if MODE == DERIVATIVES
uniform STAGED uTileGradient; // dO and v of the same sides
uniform STAGED uOtherGradient;
#endif
#if MODE != SCORES
uniform STAGED uRowTerms; // per query: lse, exp(−lseLow), delta − dLse
#endif
uniform ivec3 uOtherSide; // x of the block in the other side's textures; its head = tile head / y − z
uniform int uLanes; // LANES, but not known when compiling
#if HALF
layout(location = 0) out uvec4 target[LANES / 2];
#if LANES == 8
layout(location = 4) out vec4 groupStatistics[2];
#else
layout(location = 2) out vec4 groupStatistics[2];
#endif
#else
layout(location = 0) out vec4 target[LANES];
#endif

// sums[lane] += products of the tile's 4 rows with row `lane` of the other side.
#if HALF
#define GATHER_ROWS mat4 low = mat4(LOW(r0), LOW(r1), LOW(r2), LOW(r3)); mat4 high = mat4(HIGH(r0), HIGH(r1), HIGH(r2), HIGH(r3));
#define ROW uvec4
#define MULTIPLY(row) LOW(row) * low + HIGH(row) * high
#else
#define GATHER_ROWS mat4 rows = mat4(r0, r1, r2, r3);
#define ROW vec4
#define MULTIPLY(row) row * rows
#endif
#define ADD_PRODUCTS(ADD_LANE, tileSide, tileY, texels) \
  for (int d = 0; d < texels; d++) { \
    ROW r0 = FETCH(tileSide, tile, tileY + d); \
    ROW r1 = FETCH(tileSide, tile + uPart.x, tileY + d); \
    ROW r2 = FETCH(tileSide, tile + 2 * uPart.x, tileY + d); \
    ROW r3 = FETCH(tileSide, tile + 3 * uPart.x, tileY + d); \
    GATHER_ROWS \
    FOR_LANES(ADD_LANE) \
  }
#define ADD_PRODUCT(lane) { ROW row = FETCH(uOther, otherX + lane * uChunk.z, otherHead * TEXELS_STAGED + d); products[lane] += MULTIPLY(row); }
#define ADD_GRADIENT(lane) { ROW row = FETCH(uOtherGradient, otherX + lane * uChunk.z, otherHead * VALUE_TEXELS_STAGED + d); gradients[lane] += MULTIPLY(row); }

// Row r of the tile and a column, as query and key.
#if TILES_OF_KEYS
#define QUERY(column, r) (column)
#define KEY(column, r) (place.row + r)
#else
#define QUERY(column, r) (place.row + r)
#define KEY(column, r) (column)
#endif

#if MODE == SCORES
#define FINISH_ONE(row, r) score_with_options(products.row, place, QUERY(column, r), KEY(column, r)).x
vec4 finish(vec4 products, Place place, int column) {
  return vec4(FINISH_ONE(x, 0), FINISH_ONE(y, 1), FINISH_ONE(z, 2), FINISH_ONE(w, 3));
}
#else
float finish_one(float product, float dProbability, float kept, vec4 terms, Place place, int i, int j) {
  vec2 score = score_with_options(product, place, i, j);
  if (floatBitsToUint(score.x) == MINUS_INFINITY_BITS) return 0.0;
  float p = is_nan(score.x) || is_nan(terms.x) ? not_a_number() : exp(score.x - terms.x) * terms.y;
#if MODE == PROBABILITIES
  return p * kept;
#elif WITH_CAP
  return p * (dProbability * kept - terms.z) * score.y;
#else
  return p * (dProbability * kept - terms.z);
#endif
}

// `terms` has a column per row of the tile.
vec4 finish(vec4 products, vec4 gradients, vec4 kept, mat4 terms, Place place, int column) {
#define FINISH_ONE(row, r) finish_one(products.row, gradients.row, kept.row, terms[r], place, QUERY(column, r), KEY(column, r))
  return vec4(FINISH_ONE(x, 0), FINISH_ONE(y, 1), FINISH_ONE(z, 2), FINISH_ONE(w, 3));
}
#endif

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int tile = uChunk.x + at.x;
  int headInChunk = at.y / uChunk.z;
  int group = at.y - headInChunk * uChunk.z;
  int head = uChunk.y + headInChunk;
  Place place = place_of(tile, head);
  int first = uChunk.w + group * LANES;
  ivec2 seen = seen_by_tile(place);
  // Nobody reads groups that the tile does not see.
  if (first >= seen.y || first + LANES <= seen.x) discard;

  int otherHead = (uPart.z + head) / uOtherSide.y - uOtherSide.z;
  int otherX = uOtherSide.x + group;
  vec4 products[LANES];
#define CLEAR(lane) products[lane] = vec4(0.0);
  FOR_LANES(CLEAR)
  ADD_PRODUCTS(ADD_PRODUCT, uTile, head * TEXELS_STAGED, TEXELS)

#if MODE != SCORES
  vec4 gradients[LANES];
#define CLEAR_GRADIENT(lane) gradients[lane] = vec4(0.0);
  FOR_LANES(CLEAR_GRADIENT)
#endif
#if MODE == DERIVATIVES
  ADD_PRODUCTS(ADD_GRADIENT, uTileGradient, head * VALUE_TEXELS_STAGED, VALUE_TEXELS)
#endif
#if MODE != SCORES && !TILES_OF_KEYS
  mat4 terms = mat4(
    FETCH(uRowTerms, tile, head),
    FETCH(uRowTerms, tile + uPart.x, head),
    FETCH(uRowTerms, tile + 2 * uPart.x, head),
    FETCH(uRowTerms, tile + 3 * uPart.x, head)
  );
#endif
#if MODE != SCORES && HAS_DROPOUT && !TILES_OF_KEYS
  vec4 kept[LANES];
#define KEEP(four) { \
    mat4 factors = dropout_tile(place, first + four); \
    kept[four] = factors[0]; kept[four + 1] = factors[1]; kept[four + 2] = factors[2]; kept[four + 3] = factors[3]; \
  }
  FOR_FOURS(KEEP)
#define KEPT(lane) kept[lane]
#elif HAS_DROPOUT
#define KEPT(lane) dropout_factors(place.b, place.h, first + lane, place.row)
#else
#define KEPT(lane) vec4(1.0)
#endif
#if TILES_OF_KEYS
#define TERMS(lane) mat4 terms; terms[0] = terms[1] = terms[2] = terms[3] = FETCH(uRowTerms, otherX + lane * uChunk.z, otherHead);
#else
#define TERMS(lane)
#endif
#if ONE_COPY
  // One copy of the options' code instead of LANES, which some compilers would take seconds for: the bound is no constant.
  for (int n = 0; n < uLanes; n++) {
    vec4 product;
#define PICK(lane) if (n == lane) product = products[lane];
    FOR_LANES(PICK)
#if MODE == SCORES
    product = finish(product, place, first + n);
#else
    vec4 gradient;
    vec4 keptHere = vec4(1.0);
#define PICK_GRADIENT(lane) if (n == lane) gradient = gradients[lane];
    FOR_LANES(PICK_GRADIENT)
#if HAS_DROPOUT && TILES_OF_KEYS
    keptHere = KEPT(n);
#elif HAS_DROPOUT
#define PICK_KEPT(lane) if (n == lane) keptHere = kept[lane];
    FOR_LANES(PICK_KEPT)
#endif
    TERMS(n)
    product = finish(product, gradient, keptHere, terms, place, first + n);
#endif
#define PUT(lane) if (n == lane) products[lane] = product;
    FOR_LANES(PUT)
  }
#elif MODE == SCORES
#define FINISH(lane) products[lane] = finish(products[lane], place, first + lane);
  FOR_LANES(FINISH)
#else
#define FINISH(lane) { TERMS(lane) products[lane] = finish(products[lane], gradients[lane], KEPT(lane), terms, place, first + lane); }
  FOR_LANES(FINISH)
#endif
#if HALF
  vec4 poison = vec4(0.0);
  vec4 groupMax = vec4(minus_infinity());
  vec4 groupSum = vec4(0.0);
#define MEET(lane) \
    products[lane] = set_apart(products[lane], poison); \
    groupMax = max(groupMax, products[lane]);
  FOR_LANES(MEET)
#define COUNT(lane) products[lane] = rescaling(products[lane], groupMax); groupSum += products[lane];
  FOR_LANES(COUNT)
#define PACK(lane) pack(products[lane], products[lane + 1])
#define WRITE(four) target[four / 2] = PACK(four); target[four / 2 + 1] = PACK(four + 2);
  FOR_FOURS(WRITE)
  groupStatistics[0] = mix(groupMax, vec4(not_a_number()), greaterThan(poison, vec4(0.0)));
  groupStatistics[1] = groupSum;
#else
#define WRITE(lane) target[lane] = products[lane];
  FOR_LANES(WRITE)
#endif
}
