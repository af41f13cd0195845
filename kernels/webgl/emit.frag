// Writes accumulated sums as a tfjs tensor in its layout; the forward pass's are divided by the row's sum on the way.
uniform sampler2DArray uState;
uniform ivec4 uTarget; // width of the tensor's texture, heads per batch, rows, channels
uniform ivec4 uSource; // first row, rows, first head (of all batches), heads of the part
uniform float uFactor;
layout(location = 0) out vec4 target;

bool is_in_part(int b, int h, int row) {
  int head = b * uTarget.y + h - uSource.z;
  return head >= 0 && head < uSource.w && row >= uSource.x && row < uSource.x + uSource.y;
}

float value(int b, int h, int row, int channel) {
  // Padding of a packed texel, too, comes here.
  if (!is_in_part(b, h, row) || h >= uTarget.y || row >= uTarget.z || channel >= uTarget.w) return 0.0;
  int head = b * uTarget.y + h - uSource.z;
  int tile = (row - uSource.x) >> 2;
  int lane = (row - uSource.x) & 3;
  int group = channel / LANES;
  float sum = texelFetch(uState, ivec3(tile, head * CHANNEL_GROUPS + group, channel - group * LANES), 0)[lane];
#if FORWARD
  ivec2 statistics = ivec2(tile, uSource.w * CHANNEL_GROUPS + head);
  float rowSum = texelFetch(uState, ivec3(statistics, 1), 0)[lane];
  if (texelFetch(uState, ivec3(statistics, 2), 0)[lane] > 0.0) return not_a_number();
  return rowSum == 0.0 ? 0.0 : sum / rowSum;
#else
  return sum * uFactor;
#endif
}

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int texel = at.y * uTarget.x + at.x;
#if ROWS_BEFORE_HEADS
  ivec2 last = ivec2(uTarget.y, uTarget.z); // the axis before channels, and the one before that
#else
  ivec2 last = ivec2(uTarget.z, uTarget.y);
#endif
#if PACKED
  int columns = (uTarget.w + 1) >> 1;
  int pairs = (last.x + 1) >> 1;
  int c = (texel % columns) * 2;
  int pair = texel / columns;
  int x = (pair % pairs) * 2;
  int rest = pair / pairs;
#else
  int c = texel % uTarget.w;
  int x = (texel / uTarget.w) % last.x;
  int rest = texel / uTarget.w / last.x;
#endif
  int y = rest % last.y;
  int b = rest / last.y;
#if ROWS_BEFORE_HEADS
#define VALUE(dx, dc) value(b, x + dx, y, c + dc)
#define IN_PART is_in_part(b, x, y)
#else
#define VALUE(dx, dc) value(b, y, x + dx, c + dc)
#define IN_PART is_in_part(b, y, x)
#endif
#if PACKED
  target = vec4(VALUE(0, 0), VALUE(0, 1), VALUE(1, 0), VALUE(1, 1));
#else
  if (!IN_PART) discard; // another part writes it
  target = vec4(VALUE(0, 0), 0.0, 0.0, 0.0);
#endif
}
