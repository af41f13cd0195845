// Adds up the shares of a gradient, element by element in the shares' order.
fn run(item: u32) {
  let n = item * THREADS + invocation;
  if (n >= u.Sk) { return; }
  var sum = 0.0;
  for (var share = 0u; share < u.splits; share++) { sum += parts[share * u.Sk + n]; }
  result[n] = sum;
}
