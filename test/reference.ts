/**
 * Attention in float64, written as its definition and nothing clever: what every backend is held to.
 *
 * B batch, H query heads, Hkv key/value heads, Sq queries, Sk keys, D query/key width, Dv value width. Scores are made row by
 * row: score → softcap → bias, ALiBi → visibility → softmax with sink → dropout → · v. Gradients go through the softmax's
 * Jacobian, not through lse as the kernels do.
 */
import type {AttentionCase} from './cases';
import type {CaseInputs, HostArray} from './inputs';

/** Flat arrays: output in q's layout and rank, lse [B, H, Sq]. */
export interface ReferenceResult {
  output: Float64Array;
  lse: Float64Array;
}

/** Gradients of Σ output·dOutput + Σ lse·dLse, each in the shape of its input. */
export interface ReferenceGradients {
  q: Float64Array;
  k: Float64Array;
  v: Float64Array;
  bias?: Float64Array;
  sinks?: Float64Array;
}

export function referenceAttention(c: AttentionCase, given: CaseInputs): ReferenceResult {
  const {B, H, Sq, Dv} = c;
  const inputs = inPrecision(c, given);
  const at = addresses(c);
  const output = new Float64Array(B * H * Sq * Dv);
  const lse = new Float64Array(B * H * Sq);
  forEachRow(c, (b, h, i) => {
    const row = attentionRow(c, inputs, b, h, i);
    lse[(b * H + h) * Sq + i] = row.lse;
    for (const {j, p, keep} of row.keys) {
      for (let e = 0; e < Dv; e++) output[at.output(b, h, i, e)] += p * keep * row.value(j, e);
    }
  });
  return {output, lse};
}

export function referenceGradients(
  c: AttentionCase,
  given: CaseInputs,
  dOutput: ArrayLike<number>,
  dLse: ArrayLike<number>,
): ReferenceGradients {
  const {H, Hkv, Sq, D, Dv} = c;
  const inputs = inPrecision(c, given);
  const at = addresses(c);
  const grads: ReferenceGradients = {
    q: new Float64Array(inputs.q.values.length),
    k: new Float64Array(inputs.k.values.length),
    v: new Float64Array(inputs.v.values.length),
    ...(inputs.bias && {bias: new Float64Array(inputs.bias.values.length)}),
    ...(inputs.sinks && {sinks: new Float64Array(inputs.sinks.values.length)}),
  };
  const scale = c.options.scale ?? 1 / Math.sqrt(D);
  forEachRow(c, (b, h, i) => {
    const row = attentionRow(c, inputs, b, h, i);
    const hkv = Math.floor((h * Hkv) / H);
    const dLseRow = dLse[(b * H + h) * Sq + i];

    const dP = row.keys.map(({j, p, keep}) => {
      let sum = 0;
      for (let e = 0; e < Dv; e++) {
        const dO = dOutput[at.output(b, h, i, e)];
        grads.v[at.v(b, hkv, j, e)] += p * keep * dO;
        sum += dO * keep * row.value(j, e);
      }
      return sum;
    });
    // The sink's probability weighs a value of zero: it has no term in the mean.
    const mean = row.keys.reduce((sum, {p}, n) => sum + p * dP[n], 0);
    if (grads.sinks && row.sinkP > 0) grads.sinks[h] += row.sinkP * (dLseRow - mean);

    row.keys.forEach(({j, p, capSlope}, n) => {
      const dScore = p * (dP[n] - mean + dLseRow);
      if (grads.bias) grads.bias[scoresAddress(inputs.bias!, b, h, i, j)] += dScore;
      const dProduct = dScore * capSlope * scale;
      for (let d = 0; d < D; d++) {
        grads.q[at.q(b, h, i, d)] += dProduct * row.key(j, d);
        grads.k[at.k(b, hkv, j, d)] += dProduct * row.query(d);
      }
    });
  });
  return grads;
}

interface Row {
  /** The visible keys: probability before dropout, dropout's factor, derivative of the softcap. */
  keys: {j: number; p: number; keep: number; capSlope: number}[];
  lse: number;
  sinkP: number;
  query(d: number): number;
  key(j: number, d: number): number;
  value(j: number, e: number): number;
}

function attentionRow(c: AttentionCase, inputs: CaseInputs, b: number, h: number, i: number): Row {
  const {options, H, Hkv, Sk, D} = c;
  const at = addresses(c);
  const hkv = Math.floor((h * Hkv) / H);
  const scale = options.scale ?? 1 / Math.sqrt(D);
  const query = (d: number): number => inputs.q.values[at.q(b, h, i, d)];
  const key = (j: number, d: number): number => inputs.k.values[at.k(b, hkv, j, d)];
  const value = (j: number, e: number): number => inputs.v.values[at.v(b, hkv, j, e)];

  const visible: {j: number; s: number; capSlope: number}[] = [];
  for (let j = 0; j < Sk; j++) {
    if (!isVisible(c, inputs, b, h, i, j)) continue;
    let s = 0;
    for (let d = 0; d < D; d++) s += query(d) * scale * key(j, d);
    let capSlope = 1;
    if (options.softcap) {
      const t = Math.tanh(s / options.softcap);
      s = options.softcap * t;
      capSlope = 1 - t * t;
    }
    if (inputs.bias) {
      s += inputs.bias.values[scoresAddress(inputs.bias, b, h, i, j)];
      // Beside a bias of −1e9 float32 holds nothing of the score, and the contract asks for that uniform row.
      if (c.float32Bias) s = Math.fround(s);
    }
    if (inputs.alibiSlopes) {
      const {shape, values} = inputs.alibiSlopes;
      const slope = values[shape.length === 2 ? b * H + h : h];
      s -= slope * Math.abs(i + offsetOf(c, inputs, b) - j);
    }
    visible.push({j, s, capSlope});
  }

  const sink = inputs.sinks ? inputs.sinks.values[h] : -Infinity;
  const max = visible.reduce((m, {s}) => Math.max(m, s), sink);
  if (max === -Infinity) return {keys: [], lse: -Infinity, sinkP: 0, query, key, value};
  const sum = visible.reduce((total, {s}) => total + Math.exp(s - max), Math.exp(sink - max));
  const keys = visible.map(({j, s, capSlope}) => ({
    j,
    p: options.precision === 'float16' ? toFloat16(Math.exp(s - max) / sum) : Math.exp(s - max) / sum,
    keep: dropoutFactor(c, b, h, i, j),
    capSlope,
  }));
  return {keys, lse: max + Math.log(sum), sinkP: Math.exp(sink - max) / sum, query, key, value};
}

/** Whether query i of head h in batch b may see key j. */
export function isVisible(c: AttentionCase, inputs: CaseInputs, b: number, h: number, i: number, j: number): boolean {
  const {causal, window} = c.options;
  const position = i + offsetOf(c, inputs, b);
  if (causal && j > position) return false;
  if (window && window[0] >= 0 && j < position - window[0]) return false;
  if (window && window[1] >= 0 && j > position + window[1]) return false;
  if (inputs.keyLengths && j >= inputs.keyLengths.values[b]) return false;
  if (inputs.mask && !inputs.mask.values[scoresAddress(inputs.mask, b, h, i, j)]) return false;
  if (inputs.bias && inputs.bias.values[scoresAddress(inputs.bias, b, h, i, j)] === -Infinity) return false;
  const {querySegments, keySegments} = inputs;
  if (querySegments && querySegments.values[b * c.Sq + i] !== keySegments!.values[b * c.Sk + j]) return false;
  return true;
}

/** Key position of query 0. */
export function offsetOf(c: AttentionCase, inputs: CaseInputs, b: number): number {
  if (inputs.queryOffset) return inputs.queryOffset.values[b];
  const {queryOffset} = c.options;
  return typeof queryOffset === 'number' ? queryOffset : c.Sk - c.Sq;
}

/** 0 where dropped, 1/(1−p) where kept. */
export function dropoutFactor({options}: AttentionCase, b: number, h: number, i: number, j: number): number {
  const {dropout = 0, seed = 0} = options;
  if (dropout === 0) return 1;
  const word = philox4x32([j >> 2, i, h, b], [seed, 0])[j & 3];
  return word < Math.floor(dropout * 2 ** 32) ? 0 : 1 / (1 - dropout);
}

/** Philox-4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011), in exact integers. */
export function philox4x32(counter: readonly number[], key: readonly number[]): number[] {
  const low = (x: bigint): bigint => x & 0xffffffffn;
  let [c0, c1, c2, c3] = counter.map(BigInt);
  let [k0, k1] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const product0 = 0xd2511f53n * c0;
    const product1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(product1 >> 32n) ^ c1 ^ k0, low(product1), (product0 >> 32n) ^ c3 ^ k1, low(product0)];
    k0 = low(k0 + 0x9e3779b9n);
    k1 = low(k1 + 0xbb67ae85n);
  }
  return [c0, c1, c2, c3].map(Number);
}

/** Where an element of a bias or mask, broadcast from the right to [B, H, Sq, Sk] or its lower-rank form, lies. */
export function scoresAddress(array: HostArray, b: number, h: number, i: number, j: number): number {
  const {shape, scoresRank} = array;
  const full = scoresRank === 4 ? [b, h, i, j] : scoresRank === 3 ? [b, i, j] : [i, j];
  const indices = full.slice(full.length - shape.length);
  return shape.reduce((address, size, axis) => address * size + (size === 1 ? 0 : indices[axis]), 0);
}

/** What half-precision products may see of q, k and v, where that is permitted. */
function inPrecision({options}: AttentionCase, inputs: CaseInputs): CaseInputs {
  if (options.precision !== 'float16') return inputs;
  const half = (x: HostArray): HostArray => ({...x, values: Float64Array.from(x.values, toFloat16)});
  return {...inputs, q: half(inputs.q), k: half(inputs.k), v: half(inputs.v)};
}

/** The nearest float16, ties to even, as a number. */
export function toFloat16(x: number): number {
  const size = Math.abs(x);
  if (!(size < 65520)) return size >= 65520 ? Math.sign(x) * Infinity : x;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 1)));
  const step = 2 ** (exponent - 10);
  const steps = size / step;
  const below = Math.floor(steps);
  const up = steps - below > 0.5 || (steps - below === 0.5 && below % 2 === 1);
  return Math.sign(x) * (below + (up ? 1 : 0)) * step;
}

/** Softmax over the last axis of [rows, n] in float64, as tf.softmax defines it. */
export function referenceSoftmax(values: ArrayLike<number>, n: number): Float64Array {
  const result = new Float64Array(values.length);
  for (let start = 0; start < values.length; start += n) {
    let max = -Infinity;
    for (let j = 0; j < n; j++) max = Math.max(max, values[start + j]);
    let sum = 0;
    for (let j = 0; j < n; j++) sum += Math.exp(values[start + j] - max);
    for (let j = 0; j < n; j++) result[start + j] = Math.exp(values[start + j] - max) / sum;
  }
  return result;
}

function forEachRow({B, H, Sq}: AttentionCase, visit: (b: number, h: number, i: number) => void): void {
  for (let b = 0; b < B; b++) for (let h = 0; h < H; h++) for (let i = 0; i < Sq; i++) visit(b, h, i);
}

/** Flat addresses in the case's layout; ranks 2 and 3 have one head, where both layouts are the same. */
function addresses({H, Hkv, Sq, Sk, D, Dv, layout}: AttentionCase) {
  const address = (heads: number, rows: number, width: number) =>
    layout === 'BSHD'
      ? (b: number, h: number, s: number, d: number) => ((b * rows + s) * heads + h) * width + d
      : (b: number, h: number, s: number, d: number) => ((b * heads + h) * rows + s) * width + d;
  return {q: address(H, Sq, D), k: address(Hkv, Sk, D), v: address(Hkv, Sk, Dv), output: address(H, Sq, Dv)};
}
