/**
 * Tile sizes of the WebAssembly kernels and where the arrays of one thread stand in its scratch memory. Everything depends
 * on the problem alone, so any number of threads cuts at the same places and gives the same bits.
 */
import {stridesOf} from '../problem';
import type {AttentionProblem} from '../problem';
import type {Fields} from './fields';

/** Rows of a panel: the queries (or keys) that stand in the vector lanes together. */
const LANES = 16;
/** Most rows of a block; assembly/rows.ts has the same. */
const BLOCK_ROWS = 64;
/** Keys of an item where keys stand in the lanes; assembly/backward_keys.ts has the same. */
export const KEY_BLOCK = 64;
/** What a tile of K or V may take of a 32 KiB first-level cache. */
const TILE_BYTES = 16 * 1024;

/** Up to as many rows that share a key head, reading K and V counts for more than arithmetic: the decode kernel. */
const DECODE_ROWS = 8;
/** Keys of a split of the decode kernel: K and V of one fit a second-level cache. */
const SPLIT_KEYS = 256;

export interface Tiling {
  /** 'decode' for few rows, with the keys in `splits` parts. */
  kernel: 'forward' | 'decode';
  splits: number;
  splitKeys: number;
  /** Rows of an item: queries, in the backward pass of keys and values also keys. */
  blockRows: number;
  /** Keys (or queries) taken from memory at a time. */
  tileKeys: number;
  /** Query heads whose rows share an item. */
  headsPerGroup: number;
  /** K and V rows lie so far apart that a tile is copied together first. */
  packKeys: boolean;
}

export function isDecode({H, Hkv, Sq}: AttentionProblem): boolean {
  return (H / Hkv) * Sq <= DECODE_ROWS;
}

export function tilingOf(problem: AttentionProblem): Tiling {
  const {H, Hkv, Sq, Sk, D, Dv} = problem;
  const group = H / Hkv;
  const decodes = isDecode(problem);
  // Few rows: the heads of a group fill the lanes together.
  const headsPerGroup = decodes || (group > 1 && Sq % LANES !== 0 && Sq < BLOCK_ROWS) ? group : 1;
  const rows = Sq * headsPerGroup;
  const width = Math.max(D, Dv);
  const fitting = Math.floor(TILE_BYTES / (4 * width) / LANES) * LANES;
  const strides = stridesOf(problem);
  return {
    kernel: decodes ? 'decode' : 'forward',
    splits: Math.ceil(Sk / SPLIT_KEYS),
    splitKeys: SPLIT_KEYS,
    blockRows: Math.min(BLOCK_ROWS, roundUp(rows, LANES)),
    tileKeys: Math.min(128, Math.max(LANES, fitting)),
    headsPerGroup,
    packKeys: strides.k.row !== D && rows > LANES,
  };
}

/** Offsets of a thread's arrays in its scratch, and the bytes they take together. */
export function scratchOf({D, Dv, softcap}: AttentionProblem, {blockRows, tileKeys}: Tiling, backward: boolean) {
  let bytes = 0;
  const array = (size: number): number => {
    const at = bytes;
    bytes += roundUp(size, 64);
    return at;
  };
  const block = Math.max(blockRows, backward ? BLOCK_ROWS : 0);
  const offsets = {
    atRows: array(22 * 4 * BLOCK_ROWS), // what is known of each row: assembly/rows.ts
    atQ: array(4 * block * D), // panels of q (of k, where keys stand in the lanes)
    atScores: array(4 * tileKeys * LANES), // scores of one panel with one tile, then probabilities
    atSums: array(4 * block * Math.max(D, Dv)), // panels of the output, of dq or dk
    atK: array(4 * tileKeys * D), // a tile of k, or of scaled q, copied together
    atV: array(4 * tileKeys * Dv), // a tile of v, or of dO, copied together
    ...(backward && {
      atDOutput: array(4 * block * Dv), // panels of dO (of v)
      atGrads: array(4 * tileKeys * LANES), // dP of one panel with one tile, then dS
      atCap: softcap > 0 ? array(4 * tileKeys * LANES) : 0, // derivative of the soft cap
      atSums2: array(4 * block * Dv), // panels of dv
    }),
  } satisfies Fields;
  return {offsets, bytes};
}

/** Bytes that the decode kernel leaves per row and split: its sums of values, maximum and sum of weights. */
export const partialBytes = ({B, H, Sq, Dv}: AttentionProblem, {kernel, splits}: Tiling): number =>
  kernel === 'decode' ? 4 * B * H * Sq * splits * (Dv + 2) : 0;

export function roundUp(n: number, step: number): number {
  return Math.ceil(n / step) * step;
}
