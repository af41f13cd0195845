// Online softmax (Milakov and Gimelshein 2018, Algorithm 3), first of two passes: maximum and sum of one segment of a row.
uniform ivec4 uSizes; // rows, classes, segments per row, classes per segment
uniform int uWidth; // of the target
layout(location = 0) out vec4 target;

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int index = at.y * uWidth + at.x;
  int row = index / uSizes.z;
  if (row >= uSizes.x) discard;
  int first = (index - row * uSizes.z) * uSizes.w;
  int end = min(uSizes.y, first + uSizes.w);
  float most = minus_infinity();
  float sum = 0.0;
  float poison = 0.0; // 1 where NaN or +∞ was seen
  for (int c = first; c < end; c++) {
    float x = LOAD_LOGITS(row * uSizes.y + c);
    uint bits = floatBitsToUint(x);
    if (bits == MINUS_INFINITY_BITS) continue;
    if ((bits & 0x7fffffffu) >= 0x7f800000u) {
      poison = 1.0;
    } else if (sum == 0.0) {
      most = x;
      sum = 1.0;
    } else {
      float newMost = max(most, x);
      sum = sum * exp(most - newMost) + exp(x - newMost);
      most = newMost;
    }
  }
  target = vec4(most, sum, poison, 0.0);
}
