// The gradient at one place (Dao 2023, algorithm 2): p from the saved lse, ds = p ∘ (dP − delta), nothing stored of size Sq × Sk.
struct Place {
  // What v's gradient is weighted with: the probability after dropout.
  kept: f32,
  // Gradients of the score after and before softcap.
  changed: f32,
  raw: f32,
}

// lse's two parts, delta − dLse, and what NaN there is in lse, otherwise 0.
fn saved_row(b: u32, h: u32, i: u32) -> vec4f {
  let at = u.rowsAt + (b * u.H + h) * u.Sq + i;
  let rows = u.B * u.H * u.Sq;
  let lse = bitcast<f32>(load_small(at));
  return vec4f(
    lse,
    bitcast<f32>(load_small(at + rows)),
    bitcast<f32>(load_small(at + 2u * rows)),
    select(0.0, lse, is_nan(lse)),
  );
}

// `keep` is dropout's factor on the probability. Places that only is_hidden knows to be hidden are the caller's.
fn place_gradient(raw: f32, dP: f32, keep: f32, row: Row, saved: vec4f, j: i32) -> Place {
  var capped = whole_score(raw);
  var capSlope = 1.0;
  if (HAS_SOFTCAP) {
    let t = bounded_tanh(capped / u.softcap);
    capped = u.softcap * t;
    capSlope = 1.0 - t * t;
  }
  let s = changed_score(capped, row, j);
  var belowLse = (s - saved.x) - saved.y;
  // On halves forward adds in another order: great scores differ by more than an exponential bears, and no probability is above 1.
  if (SEEN_AS_HALVES && belowLse > 0.0) { belowLse = 0.0; }
  let p = exp_of_score(belowLse) + saved.w;
  let gradient = p * (keep * dP - saved.z);
  if (HAS_BIAS && is_negative_infinity(s)) { return Place(0.0, 0.0, 0.0); }
  return Place(p * keep, gradient, gradient * capSlope);
}
