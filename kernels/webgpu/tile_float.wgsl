// Tiles of keys and values in workgroup memory, as float32.
alias TileVector = vec4f;

fn to_tile(x: vec4f) -> TileVector { return x; }
