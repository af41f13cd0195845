// Merges the segments' statistics of every tile, in order: layers rowMax, rowSum, poison.
uniform sampler2DArray uStatistics;
layout(location = 0) out vec4 target[3];

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec4 rowMax = merged_max(uStatistics, at.x, at.y);
  vec4 rowSum = vec4(0.0);
  vec4 poison = vec4(0.0);
  for (int s = 0; s < SEGMENTS; s++) {
    ivec2 segment = ivec2(at.x, at.y * SEGMENTS + s);
    rowSum += texelFetch(uStatistics, ivec3(segment, 1), 0) * rescaling(texelFetch(uStatistics, ivec3(segment, 0), 0), rowMax);
    poison = max(poison, texelFetch(uStatistics, ivec3(segment, 2), 0));
  }
  target[0] = rowMax;
  target[1] = rowSum;
  target[2] = poison;
}
