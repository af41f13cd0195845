/** Whether the fused op is right: beside the chain over the whole output, and beside float64 arithmetic on a few rows. */
import type {Tensor} from '@tensorflow/tfjs-core';
import type {Agreement, Settings} from '../messages';
import type {Inputs} from './inputs';
import {visibleRange} from './inputs';

/** Multiply-adds that the float64 rows may cost, and how many rows there are at most. */
const REFERENCE_WORK = 2e7;
const REFERENCE_ROWS = 16;

/** @param chain null where it was not run. */
export async function compare(inputs: Inputs, flash: Tensor, chain: Tensor | null): Promise<Agreement> {
  const [ofFlash, ofChain] = await Promise.all([flash.data(), chain?.data() ?? null]);
  const {settings, host} = inputs;
  const rows = sampledRows(settings);
  const errors = {chain: 0, flash: 0};
  let magnitude = 1;
  for (const row of rows) {
    const expected = referenceRow(settings, host, row);
    const at = row * settings.D;
    magnitude = expected.reduce((max, value) => Math.max(max, Math.abs(value)), magnitude);
    errors.flash = larger(errors.flash, largestDifference(ofFlash, expected, at));
    if (ofChain) errors.chain = larger(errors.chain, largestDifference(ofChain, expected, at));
  }
  // The bounds that the package promises; what lies within one of them may lie twice as far from the chain.
  const allowed = settings.float16 ? 4e-3 * magnitude : 2 * errors.chain + 4e-6 * magnitude;
  const difference = ofChain ? largestDifference(ofFlash, ofChain, 0) : null;
  return {
    agrees: errors.flash <= allowed && (difference ?? 0) <= 2 * allowed,
    difference,
    errors: {flash: errors.flash, chain: ofChain ? errors.chain : null},
    rows: rows.length,
    allowed,
  };
}

/** Rows of [B, H, N], spread evenly, first and last among them. */
function sampledRows({B, H, N, D}: Settings): number[] {
  const total = B * H * N;
  const count = Math.max(2, Math.min(REFERENCE_ROWS, Math.floor(REFERENCE_WORK / (2 * N * D))));
  const rows = Array.from({length: count}, (_, n) => Math.round((n * (total - 1)) / (count - 1)));
  return [...new Set(rows)];
}

/** One row of the output in float64; with float16 of values rounded to it, as products in half precision see them. */
function referenceRow(settings: Settings, {q, k, v}: Inputs['host'], row: number): number[] {
  const {N, D, float16} = settings;
  const rounded = float16 ? roundToFloat16 : (x: number) => x;
  const head = Math.floor(row / N) * N * D;
  const {from, to} = visibleRange(settings, row % N);
  const query = Array.from(q.subarray(row * D, (row + 1) * D), rounded);
  const scores: number[] = [];
  for (let j = from; j < to; j++) {
    let dot = 0;
    for (let d = 0; d < D; d++) dot += query[d] * rounded(k[head + j * D + d]);
    scores.push(dot / Math.sqrt(D));
  }
  const max = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const output = new Array<number>(D).fill(0);
  let sum = 0;
  scores.forEach((score, n) => {
    const p = Math.exp(score - max);
    sum += p;
    const at = head + (from + n) * D;
    for (let d = 0; d < D; d++) output[d] += rounded(p) * rounded(v[at + d]);
  });
  return output.map(value => value / sum);
}

/** To 11 bits of significand, by Dekker's splitting in float32 (1971). */
function roundToFloat16(x: number): number {
  const scaled = Math.fround(x * 8193);
  return Math.fround(scaled - Math.fround(scaled - x));
}

function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>, at: number): number {
  let largest = 0;
  for (let n = 0; n < expected.length; n++) largest = larger(largest, Math.abs(actual[at + n] - expected[n]));
  return largest;
}

/** NaN wins: what is not a number is as far away as can be. */
function larger(a: number, b: number): number {
  return a > b || Number.isNaN(a) ? a : Number.isNaN(b) ? NaN : b;
}
