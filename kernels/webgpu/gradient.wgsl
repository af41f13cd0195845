// The gradient at one place (Dao 2023, algorithm 2): p from the saved lse, ds = p ∘ (dP − delta), nothing stored of size Sq × Sk.
struct Place {
  // What v's gradient is weighted with: the probability after dropout.
  kept: f32,
  // Gradients of the score after and before softcap.
  changed: f32,
  raw: f32,
}

// lse's two parts, and delta − dLse.
fn saved_row(b: u32, h: u32, i: u32) -> vec3f {
  let at = u.rowsAt + (b * u.H + h) * u.Sq + i;
  let rows = u.B * u.H * u.Sq;
  return vec3f(
    bitcast<f32>(load_small(at)),
    bitcast<f32>(load_small(at + rows)),
    bitcast<f32>(load_small(at + 2u * rows)),
  );
}

fn place_gradient(raw: f32, dP: f32, row: Row, saved: vec3f, j: i32, checked: bool) -> Place {
  var capped = opaque_value(raw);
  var capSlope = 1.0;
  if (HAS_SOFTCAP) {
    let t = bounded_tanh(capped / u.softcap);
    capped = u.softcap * t;
    capSlope = 1.0 - t * t;
  }
  let s = changed_score(capped, row, j);
  let p = exp_difference((s - saved.x) - saved.y);
  var keep = 1.0;
  if (HAS_DROPOUT) { keep = select(u.keepScale, 0.0, is_dropped(row, j)); }
  let gradient = p * (keep * dP - saved.z);
  var hidden = HAS_BIAS && is_negative_infinity(s);
  if (checked) { hidden = hidden || is_hidden(row, j); }
  if (hidden) { return Place(0.0, 0.0, 0.0); }
  return Place(p * keep, gradient, gradient * capSlope);
}
