// The online softmax's statistics, a channel per row of a tile. The groups of a block are dealt to SEGMENTS fragments, each
// with running statistics of its own: one fragment per tile would leave most of a GPU idle. y = head · SEGMENTS + segment.
struct Statistics {
  vec4 rowMax; // −∞ where nothing was seen
  vec4 rowSum; // Σ exp(score − rowMax)
  vec4 poison; // 1 where a NaN or +∞ was seen
};

vec4 merged_max(sampler2DArray statistics, int tile, int head) {
  vec4 rowMax = vec4(minus_infinity());
  for (int s = 0; s < SEGMENTS; s++) rowMax = max(rowMax, texelFetch(statistics, ivec3(tile, head * SEGMENTS + s, 0), 0));
  return rowMax;
}

// exp(before − after), 0 where there was nothing before.
vec4 rescaling(vec4 before, vec4 after) {
  return mix(exp(before - after), vec4(0.0), is_hidden(before));
}
