// What the backward pass needs of each query: lse, exp(−lseLow) and delta − dLse, delta = Σ dO ∘ O (FlashAttention-2,
// Algorithm 2). In the order of stage.frag, one texel per row; FOR_SINKS: as a tensor [B, H, Sq] of the sink's gradient per row.
uniform ivec3 uStrides;
uniform ivec4 uRows; // as in stage.frag
uniform ivec3 uHeads;
#if FOR_SINKS
uniform int uWidth; // of the tensor's texture
#endif
layout(location = 0) out vec4 target;

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
#if FOR_SINKS
  int index = at.y * uWidth + at.x;
  int head = index / uRows.w;
  int row = index - head * uRows.w;
#else
  int blockAndLane = at.x / uRows.x;
  int n = at.x - blockAndLane * uRows.x;
  int block = blockAndLane / uRows.y;
  int row = uRows.z + (block * uRows.x + n) * uRows.y + blockAndLane - block * uRows.y;
  int head = uHeads.x + at.y * uHeads.y;
#endif
  if (row >= uRows.w) {
    target = vec4(0.0);
    return;
  }
  int b = head / uHeads.z;
  int base = b * uStrides.x + (head - b * uHeads.z) * uStrides.y + row * uStrides.z;
  float delta = 0.0;
  for (int c = 0; c < WIDTH; c++) {
    delta += LOAD_D_OUTPUT(base + c) * LOAD_OUTPUT(base + c);
  }
  int flatRow = head * uRows.w + row;
  float lse = LOAD_LSE(flatRow);
  float scale = exp(-LOAD_LSE_LOW(flatRow));
  float term = delta - LOAD_D_LSE(flatRow);
#if FOR_SINKS
  float sink = LOAD_SINKS(head - b * uHeads.z);
  bool absent = floatBitsToUint(sink) == MINUS_INFINITY_BITS;
  target = vec4(absent ? 0.0 : -exp(sink - lse) * scale * term, 0.0, 0.0, 0.0);
#else
  target = vec4(lse, scale, term, 0.0);
#endif
}
