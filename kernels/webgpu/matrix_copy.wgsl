// Tiles of keys and values that convert.wgsl has made, on their way through registers to workgroup memory: vec4u of 8 halves, in the
// place of matrix_stage.wgsl's vec4f.
const KEY_AT = 0u;
const KEY_SIZE = KEYS * KEY_PITCH;
const VALUE_AT = KEY_AT + PARTS * KEY_SIZE;
const VALUE_SIZE = KEYS * VALUE_PITCH;
// Low parts follow the high ones, here and in memory.
var<workgroup> halves: array<vec4u, VALUE_AT + PARTS * VALUE_SIZE>;

alias KeyTile = array<vec4u, TILE_SIZE>;
alias Staged = array<vec4u, KEY_LOADS + VALUE_LOADS>;
const KEY_OCTETS = PARTS * KEYS * KEY_VECTORS / 2;
const VALUE_OCTETS = PARTS * KEYS * VALUE_VECTORS / 2;

// What the n-th of an invocation's loads reads; where invocations do not divide tiles evenly, some read and write the same.
fn key_octet(n: u32) -> u32 { return (invocation % THREADS + n * THREADS) % KEY_OCTETS; }
fn value_octet(n: u32) -> u32 { return (invocation % THREADS + n * THREADS) % VALUE_OCTETS; }

// What of a tile float16 cannot hold.
fn marks_of(tile: u32) -> u32 {
  return tiles[u.B * u.Hkv * key_tiles() + tile / TILE_SIZE][tile % TILE_SIZE].x;
}

fn read_keys(staged: ptr<function, Staged>, base: u32, begin: i32, end: i32, tile: u32) {
  if (begin >= end) { return; }
  for (var n = 0u; n < KEY_LOADS; n++) { // unroll
    (*staged)[n] = tiles[tile][key_octet(n)];
  }
}

fn read_values(staged: ptr<function, Staged>, base: u32, begin: i32, end: i32, tile: u32) {
  for (var n = 0u; n < VALUE_LOADS; n++) { // unroll
    (*staged)[KEY_LOADS + n] = tiles[tile][KEY_OCTETS + value_octet(n)];
  }
}

fn write_keys(staged: ptr<function, Staged>) {
  for (var n = 0u; n < KEY_LOADS; n++) { // unroll
    let at = key_octet(n);
    halves[KEY_AT + at / (KEY_VECTORS / 2u) * KEY_PITCH + at % (KEY_VECTORS / 2u)] = (*staged)[n];
  }
}

fn write_values(staged: ptr<function, Staged>) {
  for (var n = 0u; n < VALUE_LOADS; n++) { // unroll
    let at = value_octet(n);
    halves[VALUE_AT + at / (VALUE_VECTORS / 2u) * VALUE_PITCH + at % (VALUE_VECTORS / 2u)] = (*staged)[KEY_LOADS + n];
  }
}
