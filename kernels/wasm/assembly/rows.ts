/**
 * What a block of query rows needs to know of each row, as arrays of `ROWS` entries in scratch: which keys it sees, where
 * its bias and mask stand, its softmax so far. Rows of one item are (head, query) pairs: r = (head − head0) · Sq + query.
 */
import {Problem} from './problem';

/** Most rows a block can have. */
export const ROWS = 64;
const STEP: usize = 4 * 64;

// Offsets of the arrays; every entry is 4 bytes.
/** Keys [FROM, TO) that window, causality and length leave. */
export const FROM: usize = 0;
export const TO: usize = STEP;
/** Key position of the query, float32: ALiBi's i + offset. */
export const POSITION: usize = 2 * STEP;
export const SLOPE: usize = 3 * STEP;
export const SEGMENT: usize = 4 * STEP;
export const HEAD: usize = 5 * STEP;
export const INDEX: usize = 6 * STEP;
/** Addresses: of the row of q, of dO, of the output, and of the bias's and the mask's row. */
export const Q: usize = 7 * STEP;
export const D_OUTPUT: usize = 8 * STEP;
export const OUTPUT: usize = 9 * STEP;
export const BIAS: usize = 10 * STEP;
export const MASK: usize = 11 * STEP;
/** Running maximum and sum, the factor of the last rescaling. */
export const MAX: usize = 12 * STEP;
export const SUM: usize = 13 * STEP;
export const FACTOR: usize = 14 * STEP;
/** The backward pass's lse (0 for −∞), lseLow, and delta − dLse. */
export const LSE: usize = 15 * STEP;
export const LSE_LOW: usize = 16 * STEP;
export const DELTA: usize = 17 * STEP;
/** Addresses of the rows of k, v, dk and dv, where keys stand in the lanes. */
export const K: usize = 18 * STEP;
export const V: usize = 19 * STEP;
export const DK: usize = 20 * STEP;
export const DV: usize = 21 * STEP;

@inline
export function entry(rows: usize, array: usize, row: i32): usize {
  return rows + array + (<usize>row << 2);
}

/** First key that batch element b cannot see whatever the row: keyLengths, clamped to 0…Sk. */
export function keyLimit(p: Problem, b: i32): i32 {
  if (p.keyLengths == 0) return p.Sk;
  return max(0, min(p.Sk, load<i32>(p.keyLengths + (<usize>b << 2))));
}

/** Fills the arrays for `count` rows from row `first` of the group at head `head0`; lanes up to a multiple of 16 repeat the last row. */
export function prepareRows(p: Problem, rows: usize, b: i32, head0: i32, first: i32, count: i32): void {
  const limit = keyLimit(p, b);
  const offset = <i64>(p.queryOffsets ? load<i32>(p.queryOffsets + (<usize>b << 2)) : p.queryOffset);
  const padded = (count + 15) & ~15;
  for (let r = 0; r < padded; r++) {
    const row = first + min(r, count - 1);
    const head = head0 + row / p.Sq;
    const i = row % p.Sq;
    const position = <i64>i + offset;
    const from = p.windowLeft < 0 ? 0 : <i32>max<i64>(0, min<i64>(limit, position - <i64>p.windowLeft));
    const to = p.windowRight < 0 ? limit : <i32>max<i64>(0, min<i64>(limit, position + <i64>p.windowRight + 1));
    store<i32>(entry(rows, FROM, r), from);
    store<i32>(entry(rows, TO, r), max(from, to));
    store<f32>(entry(rows, POSITION, r), <f32>position);
    store<i32>(entry(rows, HEAD, r), head);
    store<i32>(entry(rows, INDEX, r), i);
    store<usize>(entry(rows, Q, r), p.q + <usize>(b * p.qBatch + head * p.qHead + i * p.qRow));
    store<usize>(entry(rows, OUTPUT, r), p.output + <usize>(b * p.outputBatch + head * p.outputHead + i * p.outputRow));
    store<usize>(entry(rows, D_OUTPUT, r), p.dOutput + <usize>(b * p.outputBatch + head * p.outputHead + i * p.outputRow));
    if (p.bias) store<usize>(entry(rows, BIAS, r), p.bias + <usize>(b * p.biasBatch + head * p.biasHead + i * p.biasRow));
    if (p.mask) store<usize>(entry(rows, MASK, r), p.mask + <usize>(b * p.maskBatch + head * p.maskHead + i * p.maskRow));
    if (p.querySegments) store<i32>(entry(rows, SEGMENT, r), load<i32>(p.querySegments + (<usize>(b * p.Sq + i) << 2)));
    if (p.alibiSlopes) {
      const at = p.alibiPerBatch ? b * p.H + head : head;
      store<f32>(entry(rows, SLOPE, r), load<f32>(p.alibiSlopes + (<usize>at << 2)));
    }
  }
}

/** Reads back what the forward pass left of each row, for the backward pass. */
export function prepareSaved(p: Problem, rows: usize, b: i32, count: i32): void {
  const padded = (count + 15) & ~15;
  for (let r = 0; r < padded; r++) {
    const head = load<i32>(entry(rows, HEAD, r));
    const at = <usize>((b * p.H + head) * p.Sq + load<i32>(entry(rows, INDEX, r))) << 2;
    const lse = load<f32>(p.lse + at);
    store<f32>(entry(rows, LSE, r), lse == -Infinity ? 0 : lse);
    store<f32>(entry(rows, LSE_LOW, r), load<f32>(p.lseLow + at));
    store<f32>(entry(rows, DELTA, r), load<f32>(p.delta + at));
  }
}

/** FACTOR of the first panel becomes 1: sums that are never rescaled. */
export function fillOnes(rows: usize): void {
  for (let r = 0; r < 16; r++) store<f32>(entry(rows, FACTOR, r), 1);
}

/** The least FROM, or the greatest TO, of `count` rows. */
export function leastFrom(rows: usize, first: i32, count: i32): i32 {
  let least = i32.MAX_VALUE;
  for (let r = first; r < first + count; r++) least = min(least, load<i32>(entry(rows, FROM, r)));
  return least;
}
export function greatestTo(rows: usize, first: i32, count: i32): i32 {
  let greatest = 0;
  for (let r = first; r < first + count; r++) greatest = max(greatest, load<i32>(entry(rows, TO, r)));
  return greatest;
}
