// How invocations divide the work: a group of LANES invocations owns ROWS rows; a lane holds every LANES-th vec4 of each.
// Streamed rows come in blocks of BLOCK, of whose scores each lane owns OWN after the partial sums are added up; where there are
// more lanes than scores in a block, COPIES lanes own the same one.
const GROUPS = THREADS / LANES;
const TILE_ROWS = GROUPS * ROWS;
const OWN = max(1, BLOCK / LANES);
const COPIES = max(1, LANES / BLOCK);
const QK_VECTORS = (D + 3) / 4;
const V_VECTORS = (DV + 3) / 4;
const QK_SLICE = (QK_VECTORS + LANES - 1) / LANES;
const V_SLICE = (V_VECTORS + LANES - 1) / LANES;
const QK_PITCH = QK_SLICE * LANES;
const V_PITCH = V_SLICE * LANES;
// Scores that each of two lanes keeps when lanes that far apart halve their partial sums.
const HALF_16 = select(0, BLOCK * 16 / LANES, LANES > 16);
const HALF_8 = select(0, BLOCK * 8 / LANES, LANES > 8);
const HALF_4 = select(0, BLOCK * 4 / LANES, LANES > 4);
const HALF_2 = select(0, BLOCK * 2 / LANES, LANES > 2);
const HALF_1 = select(0, BLOCK / LANES, LANES > 1);

alias Scores = array<f32, ROWS * BLOCK>;
alias OwnScores = array<f32, ROWS * OWN>;
alias RowValues = array<f32, ROWS>;

var<private> invocation: u32;
var<private> lane: u32;
var<private> subgroupLane: u32;

// The first of this lane's own scores within the block, and the lane that owns a score.
fn first_own() -> u32 { return lane * BLOCK / LANES; }
fn owner_of(k: u32) -> u32 { return k * LANES / BLOCK; }
