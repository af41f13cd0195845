// How invocations divide the work: a group of LANES invocations shares ROWS rows; a lane holds every LANES-th vec4 of each.
// Streamed rows come in blocks of BLOCK. After the partial sums are added up a lane owns the scores of OWN_ROWS of the rows with OWN
// of the block: ROW_LANES lanes divide the rows, KEY_LANES the block, and COPIES lanes own the same.
//
// Each lane orders the group's rows and the block's positions by exclusive or with its own number, so that what it owns comes
// first: whatever is exchanged lies at the same index in every lane, and no lane selects.
const GROUPS = THREADS / LANES;
const TILE_ROWS = GROUPS * ROWS;
const QK_VECTORS = (D + 3) / 4;
const V_VECTORS = (DV + 3) / 4;
const QK_PITCH = QK_SLICE * LANES;
const V_PITCH = V_SLICE * LANES;

alias Scores = array<f32, ROWS * BLOCK>;
alias OwnScores = array<f32, OWN_ROWS * OWN>;
alias RowValues = array<f32, ROWS>;
alias OwnRows = array<f32, OWN_ROWS>;

var<private> invocation: u32;
var<private> lane: u32;
var<private> subgroupLane: u32;

// The row of the group that a lane keeps at index r.
fn row_in_group(r: u32, ofLane: u32) -> u32 { return ((r / OWN_ROWS) ^ (ofLane % ROW_LANES)) * OWN_ROWS + r % OWN_ROWS; }

// The row of the workgroup's tile that this lane keeps at index r.
fn row_in_tile(r: u32) -> u32 { return invocation / LANES * ROWS + row_in_group(r, lane); }

// The first position in a block that a lane owns.
fn first_own(ofLane: u32) -> u32 { return ofLane / ROW_LANES % KEY_LANES * OWN; }

// One lane speaks for the rows that it owns.
fn speaks() -> bool { return lane < ROW_LANES; }
