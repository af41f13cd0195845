// dsink: the sink's probability times (dLse − delta), summed over batch and queries; one workgroup per head.
var<workgroup> sums: array<f32, THREADS>;

fn run(item: u32) {
  let h = item;
  let sink = bitcast<f32>(load_small(u.sinksAt + h));
  let rows = u.B * u.H * u.Sq;
  var sum = 0.0;
  for (var n = invocation; n < u.B * u.Sq; n += THREADS) {
    let at = u.rowsAt + (n / u.Sq * u.H + h) * u.Sq + n % u.Sq;
    let lse = bitcast<f32>(load_small(at));
    let low = bitcast<f32>(load_small(at + rows));
    let p = select(exp_difference((sink - lse) - low), 0.0, is_negative_infinity(sink));
    sum -= p * bitcast<f32>(load_small(at + 2u * rows));
  }
  sums[invocation] = sum;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (invocation < width) { sums[invocation] += sums[invocation + width]; }
  }
  if (invocation == 0u) { dSinks[h] = sums[0]; }
}
