/**
 * Softmax and attention of one row, from the textbook formula to one pass, so that what each step saves can be read and
 * counted: the functions see slow memory through `Vector` only, and keep everything else in local variables.
 * Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), algorithms 1–3; Dao et al.,
 * "FlashAttention" (2022), algorithm 1.
 *
 * N elements of the row, D query/key width, Dv value width.
 */

/** An array in slow memory. */
export interface Vector {
  readonly length: number;
  read(i: number): number;
  write(i: number, value: number): void;
}

/** Called at the start of each sweep over slow memory; within a sweep no element is read twice. */
export type BeginPass = (name: string) => void;

const uncounted: BeginPass = () => undefined;

/** A plain array as slow memory. */
export function vectorOf(values: Float32Array | number[]): Vector {
  return {
    length: values.length,
    read: i => values[i],
    write: (i, value) => {
      values[i] = value;
    },
  };
}

/** exp as float32 has it: Infinity from 88.73 on. */
const exp = (x: number): number => Math.fround(Math.exp(x));

/** exp(x) / Σ exp(x): 2 passes, 2N reads, N writes; NaN as soon as one x is above 88.7. */
export function naiveSoftmax(x: Vector, y: Vector, beginPass = uncounted): void {
  beginPass('sum');
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += exp(x.read(i));
  beginPass('normalise');
  for (let i = 0; i < x.length; i++) y.write(i, exp(x.read(i)) / sum);
}

/**
 * exp(x − max) / Σ exp(x − max), one op after the other as a framework runs them, each result stored: 5 passes, 5N reads,
 * 3N writes. No exponent is above 0, so nothing overflows.
 */
export function safeSoftmax(x: Vector, y: Vector, beginPass = uncounted): void {
  beginPass('max');
  let max = -Infinity;
  for (let i = 0; i < x.length; i++) max = Math.max(max, x.read(i));
  beginPass('subtract');
  for (let i = 0; i < x.length; i++) y.write(i, x.read(i) - max);
  beginPass('exp');
  for (let i = 0; i < x.length; i++) y.write(i, exp(y.read(i)));
  beginPass('sum');
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += y.read(i);
  beginPass('divide');
  for (let i = 0; i < x.length; i++) y.write(i, y.read(i) / sum);
}

/** The safe softmax in one kernel, nothing stored between: 3 passes, 3N reads, N writes. */
export function threePassSoftmax(x: Vector, y: Vector, beginPass = uncounted): void {
  beginPass('max');
  let max = -Infinity;
  for (let i = 0; i < x.length; i++) max = Math.max(max, x.read(i));
  beginPass('sum');
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += exp(x.read(i) - max);
  beginPass('normalise');
  for (let i = 0; i < x.length; i++) y.write(i, exp(x.read(i) - max) / sum);
}

/** What is known of a row after some of its elements: m_i and d_i of the paper. */
export interface OnlineState {
  rowMax: number;
  /** Σ exp(x − rowMax) over the elements seen. */
  rowSum: number;
}

/** Before the first element. */
export const NOTHING_SEEN: Readonly<OnlineState> = {rowMax: -Infinity, rowSum: 0};

/**
 * The recurrence: m_i = max(m_{i−1}, x_i), d_i = d_{i−1} · rescale + exp(x_i − m_i), with rescale = exp(m_{i−1} − m_i)
 * moving what was summed under the old maximum to the new one.
 */
export function onlineStep({rowMax, rowSum}: OnlineState, x: number): OnlineState & {rescale: number} {
  const newMax = Math.max(rowMax, x);
  const rescale = rowMax === newMax ? 1 : exp(rowMax - newMax);
  // −Infinity adds nothing, also where it is all that was seen and the difference would be NaN.
  const added = x === -Infinity ? 0 : exp(x - newMax);
  return {rowMax: newMax, rowSum: rowSum * rescale + added, rescale};
}

/** Maximum and sum in one sweep by `onlineStep`: 2 passes, 2N reads, N writes. */
export function twoPassSoftmax(x: Vector, y: Vector, beginPass = uncounted): void {
  beginPass('max and sum');
  let state: OnlineState = NOTHING_SEEN;
  for (let i = 0; i < x.length; i++) state = onlineStep(state, x.read(i));
  beginPass('normalise');
  for (let i = 0; i < x.length; i++) y.write(i, exp(x.read(i) - state.rowMax) / state.rowSum);
}

/** One query's attention: q [D], keys [N, D] and values [N, Dv] row by row, output [Dv]. */
export interface AttentionRow {
  q: Vector;
  keys: Vector;
  values: Vector;
  output: Vector;
}

/**
 * softmax(q·keysᵀ)·values in 1 pass, D + N(D + Dv) reads, Dv writes: the output is a sum over the same elements as the softmax's
 * denominator, so it is rescaled along with it, and no probability is needed a second time.
 * @param tile keys per step; the maximum is taken and the output rescaled once for each tile.
 */
export function onePassAttention({q, keys, values, output}: AttentionRow, tile: number, beginPass = uncounted): void {
  beginPass('scores, max, sum and output');
  const D = q.length;
  const Dv = output.length;
  const N = keys.length / D;
  const query = Array.from({length: D}, (_, d) => q.read(d));
  const accumulated = new Array<number>(Dv).fill(0);
  let {rowMax, rowSum} = NOTHING_SEEN;

  for (let start = 0; start < N; start += tile) {
    const end = Math.min(N, start + tile);
    const scores: number[] = [];
    for (let j = start; j < end; j++) {
      scores.push(query.reduce((dot, value, d) => dot + value * keys.read(j * D + d), 0));
    }
    const newMax = scores.reduce((max, score) => Math.max(max, score), rowMax);
    const rescale = rowMax === newMax ? 1 : exp(rowMax - newMax);
    rowMax = newMax;
    rowSum *= rescale;
    for (let c = 0; c < Dv; c++) accumulated[c] *= rescale;
    scores.forEach((score, j) => {
      const p = score === -Infinity ? 0 : exp(score - rowMax);
      rowSum += p;
      for (let c = 0; c < Dv; c++) accumulated[c] += p * values.read((start + j) * Dv + c);
    });
  }
  for (let c = 0; c < Dv; c++) output.write(c, accumulated[c] / rowSum);
}

/**
 * `twoPassSoftmax` of each row of [rows, classes], on typed arrays and in double precision. A NaN or +Infinity makes its row NaN,
 * so does a row that is −Infinity throughout; −Infinity among others gives 0.
 */
export function onlineSoftmaxRows(logits: Float32Array, rows: number, classes: number): Float32Array {
  const probabilities = new Float32Array(rows * classes);
  for (let row = 0; row < rows; row++) {
    const begin = row * classes;
    const end = begin + classes;
    let rowMax = -Infinity;
    let rowSum = 0;
    for (let i = begin; i < end; i++) {
      const x = logits[i];
      if (x > rowMax) {
        // exp(x − x) is 1, and NaN for +Infinity, as it must.
        rowSum = rowSum * Math.exp(rowMax - x) + Math.exp(x - x);
        rowMax = x;
      } else if (x !== -Infinity) {
        rowSum += Math.exp(x - rowMax);
      }
    }
    for (let i = begin; i < end; i++) probabilities[i] = Math.exp(logits[i] - rowMax) / rowSum;
  }
  return probabilities;
}
