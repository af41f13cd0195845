// lse = rowMax + log rowSum of every query, and in a second pass lseLow, what rounding took from it: (rowMax − lse) + log rowSum.
// The second pass reads lse from its texture, so that no compiler can simplify the difference away.
uniform sampler2DArray uState;
uniform ivec4 uTarget; // width of the tensor's texture, –, rows per head, –
uniform ivec4 uSource; // first row, rows, first head (of all batches), heads of the part
#if LOW_PART
uniform sampler2D uLse;
#endif
layout(location = 0) out vec4 target;

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int index = at.y * uTarget.x + at.x;
  int head = index / uTarget.z - uSource.z;
  int row = index % uTarget.z - uSource.x;
  if (head < 0 || head >= uSource.w || row < 0 || row >= uSource.y) discard; // another part writes it
  int lane = row & 3;
  ivec2 place = ivec2(row >> 2, uSource.w * CHANNEL_GROUPS + head);
  float rowMax = texelFetch(uState, ivec3(place, 0), 0)[lane];
  float rowSum = texelFetch(uState, ivec3(place, 1), 0)[lane];
  bool poisoned = texelFetch(uState, ivec3(place, 2), 0)[lane] > 0.0;
#if LOW_PART
  float result = rowMax - texelFetch(uLse, at, 0).x + log(rowSum);
  if (poisoned || rowSum == 0.0) result = 0.0;
#else
  float result = rowMax + log(rowSum);
  if (rowSum == 0.0) result = minus_infinity();
  if (poisoned) result = not_a_number();
#endif
  target = vec4(result, 0.0, 0.0, 0.0);
}
