// Philox-4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, §4): says which probabilities
// dropout drops, without state. 64-bit products by 16-bit halves.
uniform uint uSeed;
uniform uint uDropBelow; // floor(p · 2³²)
uniform float uKeptScale; // 1 / (1 − p)

uint multiply_high(uint a, uint b) {
  uint aLow = a & 0xffffu;
  uint aHigh = a >> 16;
  uint bLow = b & 0xffffu;
  uint bHigh = b >> 16;
  uint middle = aHigh * bLow + ((aLow * bLow) >> 16);
  uint middleLow = aLow * bHigh + (middle & 0xffffu);
  return aHigh * bHigh + (middle >> 16) + (middleLow >> 16);
}

uvec4 philox(uvec4 counter) {
  uvec2 key = uvec2(uSeed, 0u);
  for (int step = 0; step < 10; step++) {
    uint high0 = multiply_high(0xd2511f53u, counter.x);
    uint high1 = multiply_high(0xcd9e8d57u, counter.z);
    counter = uvec4(
      high1 ^ counter.y ^ key.x,
      0xcd9e8d57u * counter.z,
      high0 ^ counter.w ^ key.y,
      0xd2511f53u * counter.x
    );
    key += uvec2(0x9e3779b9u, 0xbb67ae85u);
  }
  return counter;
}

// Factors on the probabilities of query i and the four keys from j (a multiple of 4): 0 or 1 / (1 − p).
vec4 dropout_factors(int b, int h, int i, int j) {
  uvec4 words = philox(uvec4(uint(j) >> 2, uint(i), uint(h), uint(b)));
  return mix(vec4(uKeptScale), vec4(0.0), lessThan(words, uvec4(uDropBelow)));
}

// The same for a tile's 4 queries: a column per key, a component per query.
mat4 dropout_tile(Place place, int key) {
  return transpose(mat4(
    dropout_factors(place.b, place.h, place.row, key),
    dropout_factors(place.b, place.h, place.row + 1, key),
    dropout_factors(place.b, place.h, place.row + 2, key),
    dropout_factors(place.b, place.h, place.row + 3, key)
  ));
}
