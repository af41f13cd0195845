// Online softmax in two reads (Milakov, Gimelshein 2018, algorithm 3): running maximum and sum, then the result.
// LANES neighbouring invocations share a row of `u.Sk` classes; each takes every LANES-th class.
var<workgroup> maxima: array<f32, THREADS>;
var<workgroup> sums: array<f32, THREADS>;

fn run(item: u32) {
  let row = item * GROUPS + invocation / LANES;
  let base = row * u.Sk;
  var top = LOWEST;
  var sum = 0.0;
  if (row < u.Sq) {
    for (var j = lane; j < u.Sk; j += LANES) {
      let x = logits[base + j];
      let newTop = max(top, x);
      sum = sum * exp_difference(top - newTop) + exp_difference(x - newTop);
      top = newTop;
    }
  }
  maxima[invocation] = top;
  sums[invocation] = sum;
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) {
      let other = maxima[invocation + width];
      let newTop = max(maxima[invocation], other);
      sums[invocation] = sums[invocation] * exp_difference(maxima[invocation] - newTop) +
        sums[invocation + width] * exp_difference(other - newTop);
      maxima[invocation] = newTop;
    }
  }
  workgroupBarrier();
  top = maxima[invocation - lane];
  sum = sums[invocation - lane];
  if (row < u.Sq) {
    for (var j = lane; j < u.Sk; j += LANES) { result[base + j] = exp_difference(logits[base + j] - top) / sum; }
  }
}
