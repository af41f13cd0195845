// Online softmax (Milakov and Gimelshein 2018, Algorithm 3), second of two passes: the segments' statistics are merged, in
// order, and the row normalised. A row without a finite logit is NaN.
uniform STAGED uStatistics;
uniform ivec4 uSizes; // as in the first pass
uniform ivec2 uWidths; // of the statistics and of the target's texture
layout(location = 0) out vec4 target;

// x: maximum, y: sum; NaN where the row has no softmax.
vec2 merged(int row) {
  vec2 all = vec2(minus_infinity(), 0.0);
  bool poisoned = row >= uSizes.x;
  for (int s = 0; s < uSizes.z && row < uSizes.x; s++) {
    int index = row * uSizes.z + s;
    vec4 segment = FETCH(uStatistics, index % uWidths.x, index / uWidths.x);
    poisoned = poisoned || segment.z > 0.0;
    if (segment.y == 0.0) continue;
    if (all.y == 0.0) {
      all = segment.xy;
    } else {
      float most = max(all.x, segment.x);
      all = vec2(most, all.y * exp(all.x - most) + segment.y * exp(segment.x - most));
    }
  }
  return poisoned || all.y == 0.0 ? vec2(not_a_number()) : all;
}

float value(vec2 statistics, int row, int c) {
  if (is_nan(statistics.y)) return not_a_number();
  if (c >= uSizes.y) return 0.0;
  float x = LOAD_LOGITS(row * uSizes.y + c);
  return floatBitsToUint(x) == MINUS_INFINITY_BITS ? 0.0 : exp(x - statistics.x) / statistics.y;
}

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int texel = at.y * uWidths.y + at.x;
#if PACKED
  int columns = (uSizes.y + 1) >> 1;
  int row = (texel / columns) * 2;
  int c = (texel % columns) * 2;
  vec2 first = merged(row);
  vec2 second = merged(row + 1);
  target = vec4(value(first, row, c), value(first, row, c + 1), value(second, row + 1, c), value(second, row + 1, c + 1));
#else
  int row = texel / uSizes.y;
  target = vec4(value(merged(row), row, texel - row * uSizes.y), 0.0, 0.0, 0.0);
#endif
}
