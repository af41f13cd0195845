/** The tensors of a case as flat host arrays, made by a seeded generator: the same numbers on every machine and backend. */
import type {AttentionInputs} from '../kernels/problem';
import type {AttentionCase, BiasOption, MaskOption} from './cases';

/** Values of one tensor; bias and mask also know the rank of the scores that they broadcast to. */
export interface HostArray {
  shape: number[];
  dtype: 'float32' | 'int32' | 'bool';
  values: Float32Array | Float64Array | Int32Array | Uint8Array;
  scoresRank?: number;
}

export type CaseInputs = AttentionInputs<HostArray>;

export const FLOAT32_LOWEST = -3.4028234663852886e38;

/** Uniform numbers in [0, 1) from an integer seed (mulberry32, a public-domain generator). */
export function randomGenerator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal numbers (Box–Muller). */
export function normalNumbers(n: number, seed: number, factor = 1): Float32Array {
  const random = randomGenerator(seed);
  return Float32Array.from({length: n}, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    return factor * radius * Math.cos(2 * Math.PI * random());
  });
}

/** Every tensor argument of a case, in the case's rank and layout. */
export function makeInputs(c: AttentionCase): CaseInputs {
  const {B, H, Sq, Sk, options} = c;
  const float = (shape: number[], salt: number, factor = 1): HostArray => ({
    shape,
    dtype: 'float32',
    values: normalNumbers(sizeOf(shape), c.seed * 16 + salt, factor),
  });
  const int = (shape: number[], values: number[]): HostArray => ({
    shape,
    dtype: 'int32',
    values: Int32Array.from(values),
  });
  const {q, k, v} = shapesOfCase(c);
  const segments = options.segmentIds;
  return {
    q: float(q, 1, c.qkFactor),
    k: float(k, 2, c.qkFactor),
    v: float(v, 3),
    ...(options.bias && {bias: makeBias(c, options.bias)}),
    ...(options.mask && {mask: makeMask(c, options.mask)}),
    ...(options.alibiSlopes && {
      alibiSlopes: {
        shape: options.alibiSlopes === 'perHead' ? [H] : [B, H],
        dtype: 'float32' as const,
        values: normalNumbers(options.alibiSlopes === 'perHead' ? H : B * H, c.seed * 16 + 4, 0.3),
      },
    }),
    ...(options.keyLengths && {keyLengths: int([B], options.keyLengths)}),
    ...(Array.isArray(options.queryOffset) && {queryOffset: int([B], options.queryOffset)}),
    ...(segments && {
      querySegments: int(
        [B, Sq],
        fill(B * Sq, n => segments.query[Math.floor(n / Sq)][n % Sq]),
      ),
      keySegments: int(
        [B, Sk],
        fill(B * Sk, n => segments.key[Math.floor(n / Sk)][n % Sk]),
      ),
    }),
    ...(options.sinks && {sinks: float([H], 5)}),
  };
}

/** Gradients that flow into output and lse in gradient tests. */
export function makeCotangents(c: AttentionCase): {dOutput: HostArray; dLse: HostArray} {
  const {q, lse} = shapesOfCase(c);
  const output = [...q.slice(0, -1), c.Dv];
  const make = (shape: number[], salt: number): HostArray => ({
    shape,
    dtype: 'float32',
    values: normalNumbers(sizeOf(shape), c.seed * 16 + salt),
  });
  return {dOutput: make(output, 6), dLse: make(lse, 7)};
}

/** Shapes in the case's rank and layout. */
export function shapesOfCase({B, H, Hkv, Sq, Sk, D, Dv, rank, layout}: AttentionCase) {
  const shape = (heads: number, rows: number, width: number): number[] => {
    if (rank === 2) return [rows, width];
    if (rank === 3) return [B, rows, width];
    return layout === 'BSHD' ? [B, rows, heads, width] : [B, heads, rows, width];
  };
  const lse = rank === 4 ? [B, H, Sq] : rank === 3 ? [B, Sq] : [Sq];
  return {q: shape(H, Sq, D), k: shape(Hkv, Sk, D), v: shape(Hkv, Sk, Dv), output: shape(H, Sq, Dv), lse};
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

function makeBias(c: AttentionCase, {shape, fill: kind}: BiasOption): HostArray {
  const values = normalNumbers(sizeOf(shape), c.seed * 16 + 8);
  const random = randomGenerator(c.seed * 16 + 9);
  const row = shape[shape.length - 1] ?? 1;
  for (let n = 0; n < values.length; n++) {
    const rowNumber = Math.floor(n / row);
    if (kind === 'everywhere −1e9') values[n] = -1e9;
    else if (kind === 'everywhere lowest') values[n] = FLOAT32_LOWEST;
    else if (kind === 'some −Infinity' && random() < 0.3) values[n] = -Infinity;
    else if (kind === 'some −1e9' && random() < 0.3) values[n] = -1e9;
    else if (kind === 'some 3e38' && random() < 0.1) values[n] = 3e38;
    else if (kind === 'some rows −Infinity' && rowNumber % 3 === 1) values[n] = -Infinity;
    else if (kind === 'some rows −1e9' && rowNumber % 3 === 1) values[n] = -1e9;
    else if (kind === 'some rows lowest' && rowNumber % 3 === 1) values[n] = FLOAT32_LOWEST;
  }
  return {shape, dtype: 'float32', values, scoresRank: c.rank};
}

function makeMask(c: AttentionCase, {shape, fill: kind}: MaskOption): HostArray {
  const random = randomGenerator(c.seed * 16 + 10);
  const row = shape[shape.length - 1] ?? 1;
  const visible = (n: number): boolean => {
    if (kind === 'all') return true;
    if (kind === 'none') return false;
    if (kind === 'some rows none') return Math.floor(n / row) % 3 !== 1 && random() < 0.7;
    return random() < 0.6;
  };
  return {
    shape,
    dtype: 'bool',
    values: Uint8Array.from(fill(sizeOf(shape), n => Number(visible(n)))),
    scoresRank: c.rank,
  };
}

function fill(n: number, value: (n: number) => number): number[] {
  return Array.from({length: n}, (_, i) => value(i));
}
