/**
 * One row of attention computed five ways on the same input, each through memory that counts. The row has N keys of width D
 * and values of width Dv.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import {CountedMemory} from '../../kernels/cpu/counted_memory';
import {
  naiveSoftmax, onePassAttention, onlineStep, NOTHING_SEEN, safeSoftmax, threePassSoftmax, twoPassSoftmax,
} from '../../kernels/cpu/online_softmax'; // prettier-ignore
import type {BeginPass, Vector} from '../../kernels/cpu/online_softmax';

const D = 16;
const Dv = 16;
/** What every key's first channel adds to its score; as in trained models, one channel is large throughout. */
const SHIFT = 100;

export interface Input {
  n: number;
  q: Float32Array;
  keys: Float32Array;
  values: Float32Array;
  scores: Float32Array;
}

// Spares the reader tfjs's advice to use tfjs-node; nothing else of this mode matters here.
tf.enableProdMode();

/** A row of scores around 100 ± 4: far more than exp can take in float32. */
export function makeInput(n: number, seed: number): Input {
  const normal = (length: number, stream: number): Float32Array =>
    tf.tidy(() => tf.randomNormal([length], 0, 1, 'float32', seed + stream).dataSync()) as Float32Array;
  const q = normal(D, 0.1);
  const keys = normal(n * D, 0.2);
  const values = normal(n * Dv, 0.3);
  q[0] = 1;
  for (let j = 0; j < n; j++) keys[j * D] += SHIFT;
  const scores = Float32Array.from({length: n}, (_, j) => dot(q, keys.subarray(j * D, (j + 1) * D)));
  return {n, q, keys, values, scores};
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, d) => sum + value * b[d], 0);
}

/** One way and what it cost; `error` is the largest difference to float64 arithmetic on the same input, NaN where the result is. */
export interface Step {
  name: string;
  passes: string[];
  reads: number;
  writes: number;
  error: number;
}

const SOFTMAXES = [
  {name: 'naive softmax', softmax: naiveSoftmax},
  {name: 'safe softmax, op by op', softmax: safeSoftmax},
  {name: '3-pass softmax', softmax: threePassSoftmax},
  {name: '2-pass online softmax', softmax: twoPassSoftmax},
];

/** The softmax alone: scores in, probabilities out. */
export function softmaxSteps({n, scores}: Input): Step[] {
  const expected = referenceSoftmax(scores);
  return SOFTMAXES.map(({name, softmax}) => {
    const memory = new CountedMemory();
    const probabilities = new Float32Array(n);
    softmax(memory.vector(scores), memory.vector(probabilities), memory.beginPass);
    return step(name, memory, largestDifference(probabilities, expected));
  });
}

/** The row's attention: q, keys and values in, output out. */
export function attentionSteps({n, q, keys, values}: Input, tile: number): Step[] {
  const expected = referenceAttention(q, keys, values);
  const steps = SOFTMAXES.map(({name, softmax}) => {
    const memory = new CountedMemory();
    const x = memory.vector(new Float32Array(n));
    const p = memory.vector(new Float32Array(n));
    const output = new Float32Array(Dv);
    multiplyKeys(memory.vector(q), memory.vector(keys), x, memory.beginPass);
    softmax(x, p, memory.beginPass);
    addValues(p, memory.vector(values), memory.vector(output), memory.beginPass);
    return step(name, memory, largestDifference(output, expected));
  });
  const memory = new CountedMemory();
  const output = new Float32Array(Dv);
  const vectors = {q: memory.vector(q), keys: memory.vector(keys), values: memory.vector(values)};
  onePassAttention({...vectors, output: memory.vector(output)}, tile, memory.beginPass);
  return [...steps, step(`1-pass attention, tile ${tile}`, memory, largestDifference(output, expected))];
}

function step(name: string, {passes, reads, writes}: CountedMemory, error: number): Step {
  return {name, passes, reads, writes, error};
}

/** scores = q·keysᵀ, stored. */
function multiplyKeys(q: Vector, keys: Vector, scores: Vector, beginPass: BeginPass): void {
  beginPass('scores');
  const query = Array.from({length: D}, (_, d) => q.read(d));
  for (let j = 0; j < scores.length; j++) {
    scores.write(
      j,
      query.reduce((sum, value, d) => sum + value * keys.read(j * D + d), 0),
    );
  }
}

/** output = Σ p_j · values_j. */
function addValues(p: Vector, values: Vector, output: Vector, beginPass: BeginPass): void {
  beginPass('output');
  const sums = new Array<number>(Dv).fill(0);
  for (let j = 0; j < p.length; j++) {
    const pj = p.read(j);
    for (let c = 0; c < Dv; c++) sums[c] += pj * values.read(j * Dv + c);
  }
  sums.forEach((sum, c) => output.write(c, sum));
}

/** One line of the recurrence after element i: x_i, m_i, exp(m_{i−1} − m_i), d_i. */
export interface Recurrence {
  x: number;
  rowMax: number;
  rescale: number;
  rowSum: number;
  /** Σ exp(x_j − m_i) over j ≤ i in float64: what d_i must be. */
  sumAnew: number;
}

export function recurrence({scores}: Input, elements: number): Recurrence[] {
  let state = {...NOTHING_SEEN};
  return Array.from(scores.subarray(0, elements), (x, i) => {
    const {rowMax, rowSum, rescale} = onlineStep(state, x);
    state = {rowMax, rowSum};
    const sumAnew = scores.subarray(0, i + 1).reduce((sum, each) => sum + Math.exp(each - rowMax), 0);
    return {x, rowMax, rescale, rowSum, sumAnew};
  });
}

function referenceSoftmax(scores: ArrayLike<number>): number[] {
  const max = Array.from(scores).reduce((a, b) => Math.max(a, b), -Infinity);
  const exponentials = Array.from(scores, x => Math.exp(x - max));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map(value => value / sum);
}

function referenceAttention(q: Float32Array, keys: Float32Array, values: Float32Array): number[] {
  const n = keys.length / D;
  const scores = Array.from({length: n}, (_, j) => dot(q, keys.subarray(j * D, (j + 1) * D)));
  const p = referenceSoftmax(scores);
  return Array.from({length: Dv}, (_, c) => p.reduce((sum, pj, j) => sum + pj * values[j * Dv + c], 0));
}

function largestDifference(actual: Float32Array, expected: number[]): number {
  return expected.reduce((largest, value, i) => Math.max(largest, Math.abs(actual[i] - value)), 0);
}
