// Tiles of keys and values on their way from memory through registers to workgroup memory, where they are float16.
const KEY_AT = 0u;
const KEY_SIZE = KEYS * KEY_PITCH;
const VALUE_AT = KEY_AT + PARTS * KEY_SIZE;
const VALUE_SIZE = KEYS * VALUE_PITCH;
// Low parts follow the high ones.
var<workgroup> halves: array<vec4<half>, VALUE_AT + PARTS * VALUE_SIZE>;

fn store_half(at: u32, size: u32, x: vec4f) {
  if (PARTS == 1u) {
    halves[at] = to_half(x);
  } else {
    let high = high_part(x);
    halves[at] = to_half(high);
    halves[at + size] = to_half(x - high);
  }
}

fn marks_of(tile: u32) -> u32 { return 0u; }

alias Staged = array<vec4f, KEY_LOADS + VALUE_LOADS>;

// Whether a vector is of the tile: known when compiling where invocations divide tiles evenly.
fn is_key(at: u32) -> bool { return KEY_LOADS * THREADS == KEYS * KEY_VECTORS || at < KEYS * KEY_VECTORS; }
fn is_value(at: u32) -> bool { return VALUE_LOADS * THREADS == KEYS * VALUE_VECTORS || at < KEYS * VALUE_VECTORS; }

fn key_place(at: u32) -> u32 { return KEY_AT + at / KEY_VECTORS * KEY_PITCH + at % KEY_VECTORS; }
fn value_place(at: u32) -> u32 { return VALUE_AT + at / VALUE_VECTORS * VALUE_PITCH + at % VALUE_VECTORS; }

// A tile's keys or values, read into registers and, from there, written to workgroup memory.
fn read_keys(staged: ptr<function, Staged>, base: u32, begin: i32, end: i32, tile: u32) {
  for (var n = 0u; n < KEY_LOADS; n++) { // unroll
    let at = invocation % THREADS + n * THREADS;
    let j = begin + i32(at / KEY_VECTORS);
    (*staged)[n] = vec4f(0.0);
    if (j < end && is_key(at)) { (*staged)[n] = load_k(base + u32(j) * u.kRow, at % KEY_VECTORS); }
  }
}

fn read_values(staged: ptr<function, Staged>, base: u32, begin: i32, end: i32, tile: u32) {
  for (var n = 0u; n < VALUE_LOADS; n++) { // unroll
    let at = invocation % THREADS + n * THREADS;
    let j = begin + i32(at / VALUE_VECTORS);
    (*staged)[KEY_LOADS + n] = vec4f(0.0);
    if (j < end && is_value(at)) {
      (*staged)[KEY_LOADS + n] = load_v(base + u32(j) * u.vRow, at % VALUE_VECTORS);
    }
  }
}

// What float16 cannot hold is looked for once a tile, and only then looked at by vector.
fn write_keys(staged: ptr<function, Staged>) {
  var largest = 0.0;
  for (var n = 0u; n < KEY_LOADS; n++) { // unroll
    let at = invocation % THREADS + n * THREADS;
    if (is_key(at)) { store_half(key_place(at), KEY_SIZE, (*staged)[n]); }
    largest = larger(largest, (*staged)[n]);
  }
  if (largest > LARGEST_HALF) {
    atomicOr(&events, KEY_BEYOND);
    for (var n = 0u; n < KEY_LOADS; n++) { // unroll
      let at = invocation % THREADS + n * THREADS;
      if (is_key(at)) { store_half(key_place(at), KEY_SIZE, without_beyond((*staged)[n])); }
    }
  }
}

fn write_values(staged: ptr<function, Staged>) {
  var largest = 0.0;
  for (var n = 0u; n < VALUE_LOADS; n++) { // unroll
    let at = invocation % THREADS + n * THREADS;
    if (is_value(at)) { store_half(value_place(at), VALUE_SIZE, (*staged)[KEY_LOADS + n]); }
    largest = larger(largest, (*staged)[KEY_LOADS + n]);
  }
  if (largest > LARGEST_HALF) {
    atomicOr(&events, VALUE_BEYOND);
    for (var n = 0u; n < VALUE_LOADS; n++) { // unroll
      let at = invocation % THREADS + n * THREADS;
      if (is_value(at)) { store_half(value_place(at), VALUE_SIZE, without_beyond((*staged)[KEY_LOADS + n])); }
    }
  }
}
