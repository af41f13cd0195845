/** The blocks and the memory that `explain` expects of a call on cpu, wasm and tfjs-node, held to what is run and taken. */
import * as tf from '@tensorflow/tfjs-core';
import {explain, flashAttention} from 'tfjs-flash-attention';
import type {ExplainOptions} from 'tfjs-flash-attention';
import {Arena} from '../kernels/wasm/memory';
import {forceImplementation} from '../src/register';
import {peakDataBytes} from './contract/allocations';
import {describeOn} from './harness/node';

const B = 2;
const H = 4;
const S = 96;
const D = 8;

afterEach(() => forceImplementation(null));

/** Runs `work` on q, k, v of B, H, S, D and disposes of them. */
function withInputs(work: (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => void): void {
  const [q, k, v] = [1, 2, 3].map(seed => tf.randomNormal([B, H, S, D], 0, 1, 'float32', seed));
  work(q, k, v);
  tf.dispose([q, k, v]);
}

/** Bytes of every Float64Array made while `work` runs: all that the loops hold besides results. */
function float64Bytes(work: () => void): number {
  const original = globalThis.Float64Array;
  let bytes = 0;
  const construct = (target: typeof original, args: unknown[], newTarget: typeof original): object => {
    const made = Reflect.construct(target, args, newTarget) as Float64Array;
    bytes += made.byteLength;
    return made;
  };
  globalThis.Float64Array = new Proxy(original, {construct});
  try {
    work();
  } finally {
    globalThis.Float64Array = original;
  }
  return bytes;
}

const sum = (numbers: Record<string, number>): number => Object.values(numbers).reduce((x, y) => x + y, 0);
/** The output and lse's two parts. */
const resultBytes = (queries: number): number => 4 * B * H * queries * (D + 2);
/** What a call of the WebAssembly kernels takes for its fields and for beginning arrays on cache lines. */
const SMALL = 2048;

describeOn('cpu', 'the memory that explain expects is taken', () => {
  it.each([{}, {softcap: 2}])('loops, %o', options => {
    forceImplementation('loops');
    withInputs((q, k, v) => {
      const {memory, onChip, kernel} = explain(q, k, v, options);
      expect(float64Bytes(() => tf.dispose(flashAttention(q, k, v, options)))).toBe(memory.fused);
      expect({sum: sum(onChip), kernel}).toEqual({sum: memory.fused, kernel: 'loops'});
    });
  });

  it.each([
    ['simd-forward', [2, 4, 96, 8], [2, 4, 96, 8], {}],
    ['simd-decode', [2, 4, 1, 8], [2, 4, 96, 8], {}],
    ['simd-decode', [16, 8, 8, 8], [16, 8, 300, 8], {}],
    ['simd-decode', [2, 1, 16, 8], [2, 300, 8, 8], {layout: 'BSHD'}],
  ] as Array<[string, number[], number[], ExplainOptions]>)('%s of %j and %j, %j, copies included', holdsCopies);
});

/** What a call takes of the memory in which its copies lie. */
function holdsCopies(kernel: string, queries: number[], keys: number[], options: ExplainOptions): void {
  const taken = jest.spyOn(Arena.prototype, 'allocate');
  const [q, k] = [tf.ones(queries), tf.ones(keys)];
  tf.dispose([tf.neg(q), tf.neg(k)]); // tfjs-node has them in TensorFlow from here on
  const said = explain(q, k, k, options);
  const read = jest.spyOn(tf.engine(), 'readSync');
  tf.dispose(flashAttention(q, k, k, options));
  // Values of k and v that are kept for the whole call, where reading is copying.
  const keptBytes = kernel === 'simd-decode' && tf.getBackend() === 'tensorflow' ? 8 * k.size : 0;
  if (keptBytes > 0) expect(read.mock.calls.filter(([id]) => id === k.dataId)).toHaveLength(2);
  const bytes = taken.mock.calls.reduce((total, [size]) => total + size, 0);
  expect(said.kernel).toBe(kernel);
  expect(Math.abs(bytes + keptBytes - said.memory.fused)).toBeLessThan(SMALL);
  expect(said.memory.fused).toBeGreaterThan(sum(said.onChip));
  [taken, read].forEach(spy => spy.mockRestore());
  tf.dispose([q, k]);
}

describeOn('wasm', 'the memory that explain expects is taken', () => {
  it.each([
    ['simd-forward', S],
    ['simd-decode', 1],
  ])('%s, in place', (kernel, queries) => {
    const {wasm} = tf.backend() as unknown as {wasm: {_malloc(bytes: number): number}};
    withInputs(x => tf.dispose(tf.neg(x))); // the first call puts another function into _malloc's place
    const taken = jest.spyOn(wasm, '_malloc');
    withInputs((q, k, v) => {
      const few = tf.slice(q, [0, 0, 0, 0], [B, H, queries, D]);
      const said = explain(few, k, v);
      taken.mockClear();
      tf.dispose(flashAttention(few, k, v));
      const bytes = taken.mock.calls.reduce((total, [size]) => total + size, 0);
      expect(said.kernel).toBe(kernel);
      expect(Math.abs(bytes - resultBytes(queries) - said.memory.fused)).toBeLessThan(SMALL);
      few.dispose();
    });
    taken.mockRestore();
  });
});

describe.each(['cpu', 'wasm', 'tensorflow'] as const)('plain ops', backendName => {
  describeOn(backendName, 'hold what explain expects of composed', () => {
    it.each([40, 200, 600])('%i positions', N => {
      forceImplementation('composed');
      const x = tf.randomNormal([1, 2, N, 32]);
      const {memory, onChip} = explain(x, x, x);
      const peak = peakDataBytes(() => [flashAttention(x, x, x)]) - 4 * x.size;
      expect(onChip).toEqual({});
      // TensorFlow shares what a reshape reshapes, too, but tfjs-node counts it as new.
      expect(peak / memory.fused).toBeLessThan(backendName === 'tensorflow' ? 1.5 : 1.1);
      expect(peak / memory.fused).toBeGreaterThan(0.7);
      x.dispose();
    });
  });
});

interface GraphRun {
  q: number[];
  k: number[];
  /** Tensors beyond those there were before, the run's result included. */
  heldBytes: number;
}

/** The runs of TensorFlow's graph during `work`. */
function graphRuns(work: () => void): GraphRun[] {
  const backend = tf.backend() as unknown as {getInputTensorIds(tensors: tf.Tensor[]): number[]};
  const original = backend.getInputTensorIds.bind(backend);
  const before = tf.memory().numBytes;
  const runs: GraphRun[] = [];
  const spy = jest.spyOn(backend, 'getInputTensorIds').mockImplementation(given => {
    const [q, k, v, scale] = given;
    if (given.length === 4 && q.rank === 3 && scale.rank === 0) {
      const result = (4 * q.size * v.shape[2]!) / q.shape[2]!;
      runs.push({q: q.shape, k: k.shape, heldBytes: tf.memory().numBytes - before + result});
    }
    return original(given);
  });
  work();
  spy.mockRestore();
  return runs;
}

describeOn('tensorflow', 'what explain says of the WebAssembly kernels', () => {
  it.each([
    ['simd-forward', [2, 4, 96, 8], [2, 4, 96, 8], {}],
    ['simd-decode', [2, 4, 1, 8], [2, 4, 300, 8], {causal: true}],
  ] as Array<[string, number[], number[], ExplainOptions]>)('%s of %j and %j, %j, copies included', holdsCopies);
});

describeOn('tensorflow', 'what explain says of TensorFlow’s graph', () => {
  it.each([
    ['blocks of rows', 1, 3, 3, 600, 2100],
    ['heads share a block', 2, 4, 4, 300, 70],
    ['grouped heads', 1, 4, 2, 400, 900],
  ])('%s: the blocks that run', (_, batch, heads, keyHeads, Sq, Sk) => {
    const q = tf.ones([batch, heads, Sq, 32]);
    const k = tf.ones([batch, keyHeads, Sk, 32]);
    const {implementation, tiles, bytes, memory} = explain(q, k, k);
    const runs = graphRuns(() => tf.dispose(flashAttention(q, k, k)));
    expect(implementation).toBe('blocked');
    expect(runs[0]).toMatchObject({q: [tiles.heads, tiles.queries, 32], k: [tiles.heads, tiles.keys, 32]});
    const readings = Math.ceil(((heads / keyHeads) * Sq) / tiles.queries);
    expect(runs.length).toBe(Math.ceil((batch * keyHeads) / tiles.heads) * readings);
    const scores = 4 * batch * heads * Sq * Sk;
    const lse = 4 * batch * heads * Sq;
    expect(bytes.fused).toBe(4 * (2 * q.size + 2 * readings * k.size) + lse + 4 * scores);
    // tfjs-node counts what a reshape shares; two blocks of scores are TensorFlow's, and not seen here.
    const held = Math.max(...runs.map(({heldBytes}) => heldBytes)) - 4 * (q.size + 2 * k.size) - 4;
    const said = memory.fused - 2 * 4 * tiles.heads * tiles.queries * Sk;
    const isWhole = runs.length === 1; // its result is the output
    expect(held - (isWhole ? 4 * q.size : 0)).toBeLessThanOrEqual(said);
    expect(held).toBeGreaterThanOrEqual(0.8 * said);
    tf.dispose([q, k]);
  });
});
