/**
 * One call as the module sees it: a block of 4-byte fields that `fields.ts` writes in this order (a test compares the two).
 * Pointers are byte addresses, strides count bytes, sizes count elements. Letters as in kernels/problem.ts.
 */
@unmanaged
export class Problem {
  // Inputs; 0 where the call has none.
  q: usize;
  k: usize;
  v: usize;
  bias: usize;
  mask: usize;
  alibiSlopes: usize;
  keyLengths: usize;
  queryOffsets: usize;
  querySegments: usize;
  keySegments: usize;
  sinks: usize;
  // Results of the forward pass, and what the backward pass gets and gives.
  output: usize;
  /** The rows' maxima after the forward pass (the host turns them into lse), lse in the backward pass. */
  lse: usize;
  /** The rows' sums, then lseLow. */
  lseLow: usize;
  dOutput: usize;
  dLse: usize;
  /** rowsum(dO ∘ O) − dLse, [B, H, Sq]. */
  delta: usize;
  dq: usize;
  dk: usize;
  dv: usize;
  dbias: usize;

  B: i32;
  H: i32;
  Hkv: i32;
  Sq: i32;
  Sk: i32;
  D: i32;
  Dv: i32;
  qBatch: i32;
  qHead: i32;
  qRow: i32;
  kBatch: i32;
  kHead: i32;
  kRow: i32;
  vBatch: i32;
  vHead: i32;
  vRow: i32;
  outputBatch: i32;
  outputHead: i32;
  outputRow: i32;
  biasBatch: i32;
  biasHead: i32;
  biasRow: i32;
  biasKey: i32;
  maskBatch: i32;
  maskHead: i32;
  maskRow: i32;
  maskKey: i32;
  /** Extents of the bias: 1 where it is broadcast; [B', H', Sq', Sk']. */
  biasB: i32;
  biasH: i32;
  biasSq: i32;
  biasSk: i32;

  scale: f32;
  softcap: f32;
  /** −1: no bound. */
  windowLeft: i32;
  windowRight: i32;
  queryOffset: i32;
  alibiPerBatch: i32;
  seed: u32;
  /** floor(dropout · 2³²); 0: no dropout. */
  dropBelow: u32;
  /** 1 / (1 − dropout). */
  keep: f32;

  /** Consecutive query heads whose rows share an item's panels: 1, or all that read one key head. */
  headsPerGroup: i32;
  /** Rows per item and keys per tile; the tiling's choice. */
  blockRows: i32;
  tileKeys: i32;
  /** 1: copy K and V tiles together first, because their rows lie far apart. */
  packKeys: i32;
  /** Keys per split of the decode kernel, and the splits' [item, row] results. */
  splitKeys: i32;
  splits: i32;
  partial: usize;

  // Arrays of one thread, as offsets from its scratch; sizes in tiling.ts.
  atRows: usize;
  atQ: usize;
  atDOutput: usize;
  atScores: usize;
  atGrads: usize;
  atCap: usize;
  atSums: usize;
  atSums2: usize;
  atK: usize;
  atV: usize;
}
