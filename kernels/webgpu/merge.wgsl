// Split keys, second half (Flash-Decoding): the parts of a row are merged by their maxima and sums, always in the same order.
// One invocation per vec4 of the output; the first of a row also finishes lse.
fn run(item: u32) {
  let n = item * THREADS + invocation;
  let row = n / V_VECTORS;
  let c = n % V_VECTORS;
  if (row >= u.B * u.H * u.Sq) { return; }
  let i = row % u.Sq;
  let h = row / u.Sq % u.H;
  let b = row / (u.Sq * u.H);
  let rows = u.B * u.H * u.Sq;

  var top = LOWEST;
  for (var split = 0u; split < u.splits; split++) { top = max(top, partMax[split * rows + row]); }
  var sum = 0.0;
  var output = vec4f(0.0);
  for (var split = 0u; split < u.splits; split++) {
    let weight = exp_difference(partMax[split * rows + row] - top);
    sum = fma(weight, partMax[(u.splits + split) * rows + row], sum);
    output = fma(vec4f(weight), load_part((split * rows + row) * DV, c), output);
  }
  let factor = finish_row(row, h, top, sum, c == 0u);
  store_output(b * u.oBatch + h * u.oHead + i * u.oRow - u.oStart, c, factor * output);
}
