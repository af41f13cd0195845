// Keys and values as float16, or as pairs of float16, once for all tiles of queries: a workgroup makes one tile of keys, whole
// matrices in each direction, zeros beyond the rows and keys. What float16 cannot hold is 0 there, and marked.
const KEY_SIZE = KEYS * KEY_VECTORS / 2u;
const VALUE_AT = PARTS * KEY_SIZE;
const VALUE_SIZE = KEYS * VALUE_VECTORS / 2u;
const LARGEST_HALF_BITS = 0x477fe000u;
const KEY_BEYOND = 4u;
const VALUE_BEYOND = 8u;
alias KeyTile = array<vec4u, TILE_SIZE>;
var<workgroup> marks: atomic<u32>;

fn to_half(x: vec4f) -> vec4<f16> { return vec4<f16>(x); }
fn packed(x: vec4f) -> vec2u { return bitcast<vec2u>(to_half(x)); }

// Infinities and NaN included: a hidden NaN must not reach a product.
fn without_beyond(x: vec4f, mark: u32) -> vec4f {
  let beyond = (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(LARGEST_HALF_BITS);
  if (any(beyond)) { atomicOr(&marks, mark); }
  return select(x, vec4f(0.0), beyond);
}

fn store_octet(tile: u32, at: u32, size: u32, mark: u32, first: vec4f, second: vec4f) {
  let a = without_beyond(first, mark);
  let b = without_beyond(second, mark);
  if (PARTS == 1u) {
    tiles[tile][at] = vec4u(packed(a), packed(b));
  } else {
    let highA = bitcast<vec4f>(bitcast<vec4u>(a) & vec4u(0xffffe000u));
    let highB = bitcast<vec4f>(bitcast<vec4u>(b) & vec4u(0xffffe000u));
    tiles[tile][at] = vec4u(packed(highA), packed(highB));
    tiles[tile][at + size] = vec4u(packed(a - highA), packed(b - highB));
  }
}

fn run(tile: u32) {
  let keyTiles = (u.Sk + KEYS - 1) / KEYS;
  let head = tile / keyTiles;
  let keyBase = head / u.Hkv * u.kBatch + head % u.Hkv * u.kHead;
  let valueBase = head / u.Hkv * u.vBatch + head % u.Hkv * u.vHead;
  let begin = tile % keyTiles * KEYS;
  for (var n = invocation; n < KEY_SIZE; n += THREADS) {
    let row = n / (KEY_VECTORS / 2u);
    let c = n % (KEY_VECTORS / 2u) * 2u;
    var a = vec4f(0.0);
    var b = vec4f(0.0);
    if (begin + row < u.Sk) {
      let base = keyBase + (begin + row) * u.kRow;
      a = load_k(base, c);
      b = load_k(base, c + 1u);
    }
    store_octet(tile, n, KEY_SIZE, KEY_BEYOND, a, b);
  }
  for (var n = invocation; n < VALUE_SIZE; n += THREADS) {
    var a = vec4f(0.0);
    var b = vec4f(0.0);
    let row = n / (VALUE_VECTORS / 2u);
    let c = n % (VALUE_VECTORS / 2u) * 2u;
    if (begin + row < u.Sk) {
      let base = valueBase + (begin + row) * u.vRow;
      a = load_v(base, c);
      b = load_v(base, c + 1u);
    }
    store_octet(tile, VALUE_AT + n, VALUE_SIZE, VALUE_BEYOND, a, b);
  }
  workgroupBarrier();
  if (invocation == 0u) {
    let at = tile / TILE_SIZE;
    tiles[u.items + at][tile % TILE_SIZE] = vec4u(atomicLoad(&marks));
  }
}
