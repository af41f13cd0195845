// delta = rowsum(dO ∘ O) (Dao 2023, section 3.1.2), less the gradient that reaches lse; one invocation per row.
fn run(item: u32) {
  let n = item * THREADS + invocation;
  if (n >= u.tiles) { return; }
  let heads = u.heads * u.group;
  let i = n % u.Sq;
  let h = u.headStart * u.group + n / u.Sq % heads;
  let b = u.batchStart + n / (u.Sq * heads);
  let base = b * u.oBatch + h * u.oHead + i * u.oRow - u.oStart;
  let row = (b * u.H + h) * u.Sq + i;
  var sum = 0.0;
  for (var c = 0u; c < V_VECTORS; c++) { sum = multiply_add(load_output(base, c), load_dOutput(base, c), sum); }
  rowValues[u.rowsAt + 2u * u.B * u.H * u.Sq + row] = sum - dLse[row];
}
