// The end of a row: the sink joins the denominator, lse is stored in two floats, and what the output is multiplied by comes back.
fn finish_row(at: u32, h: u32, rowMax: f32, rowSum: f32, stores: bool) -> f32 {
  var top = rowMax;
  var sum = rowSum;
  var factor = 1.0;
  if (HAS_SINKS) {
    let sink = bitcast<f32>(load_small(u.sinksAt + h));
    top = max(top, sink);
    factor = exp_difference(rowMax - top);
    sum = sum * factor + select(exp_difference(sink - top), 0.0, is_negative_infinity(sink));
  }
  // Asked this way round because a comparison with NaN is false: a NaN belongs in the second branch.
  var lse = u.negativeInfinity;
  var low = 0.0;
  if (sum == 0.0) {
    factor = 0.0;
  } else {
    // Some devices' log drops a NaN.
    let logarithm = select(log(sum), sum, is_nan(sum));
    lse = opaque_value(top + logarithm);
    low = opaque_value(top - lse) + logarithm;
    factor /= sum;
  }
  if (stores) { store_lse(at, lse, low); }
  return factor;
}
