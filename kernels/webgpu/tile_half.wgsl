// Tiles of keys and values in workgroup memory as float16, half the bytes of the reads that bound the kernel. Products and sums
// stay in float32: a product of two halves may exceed float16, and converting it back costs more than it saves.
const LARGEST_HALF = 65504.0;
alias TileVector = vec4<f16>;

// What exceeds float16 is held as its largest value: a hidden value's weight of 0 must not meet an infinity. A NaN stays.
fn to_tile(x: vec4f) -> TileVector {
  return TileVector(select(x, vec4f(LARGEST_HALF) * sign(x), abs(x) > vec4f(LARGEST_HALF)));
}
