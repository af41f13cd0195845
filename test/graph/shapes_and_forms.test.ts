/** Attention that other libraries and other versions spell in their own ways: found, fused, and equal to the graph as it was. */
import * as tf from '@tensorflow/tfjs-core';
import {fuseAttention} from 'tfjs-flash-attention/graph';
import {useBackend} from '../harness/node';
import {GraphBuilder, b, i} from './builder';
import {compareFused, ramp} from './running';

useBackend('cpu');

const KEEP = {keep_dims: b(true)};

/** softmax(q kᵀ) v of x [2, 5, 8] in another spelling of the softmax. */
function spelled(softmax: (g: GraphBuilder, scores: string) => string): GraphBuilder {
  const g = new GraphBuilder();
  const x = g.placeholder('x', [-1, -1, 8]);
  return g.output(g.matMul(softmax(g, g.matMul(x, x, false, true)), x));
}

const last = (g: GraphBuilder): string => g.ints(-1);
const max = (g: GraphBuilder, s: string): string => g.op('Max', [s, last(g)], KEEP);
const exps = (g: GraphBuilder, s: string): string => g.op('Exp', [g.op('Sub', [s, max(g, s)])]);

describe('softmax spelled as', () => {
  it.each<[string, GraphBuilder]>([
    [
      'a sum that loses its axis and gets it back',
      spelled((g, s) => {
        const e = exps(g, s);
        return g.op('RealDiv', [e, g.op('ExpandDims', [g.op('Sum', [e, last(g)]), g.constant([-1], [], 'int32')])]);
      }),
    ],
    [
      'a sum and an epsilon that float32 does not see',
      spelled((g, s) => {
        const e = exps(g, s);
        return g.op('RealDiv', [e, g.op('AddV2', [g.op('Sum', [e, last(g)], KEEP), g.constant([1e-9])])]);
      }),
    ],
    [
      'exp of the scores less their reduce_logsumexp',
      spelled((g, s) => {
        const m = max(g, s);
        const finite = g.op('Select', [g.op('IsFinite', [m]), m, g.op('ZerosLike', [m])]);
        const e = g.op('Exp', [g.op('Sub', [s, finite])]);
        const total = g.op('AddV2', [g.op('Log', [g.op('Sum', [e, last(g)], KEEP)]), finite]);
        return g.op('Exp', [g.op('Sub', [s, total])]);
      }),
    ],
  ])('%s', async (_, g) => {
    const {report, difference} = await compareFused(g.artifacts(), {x: ramp([2, 5, 8])});
    expect(report).toMatchObject({fused: 1, skipped: 0});
    expect(difference).toBeLessThan(2e-6);
  });

  it('not with an epsilon that counts', () => {
    const g = spelled((builder, s) => {
      const e = exps(builder, s);
      return builder.op('RealDiv', [e, builder.op('AddV2', [builder.op('Sum', [e, last(builder)], KEEP), builder.constant([1e-3])])]); // prettier-ignore
    });
    expect(fuseAttention(g.artifacts()).report.fused).toBe(0);
  });
});

describe('shapes', () => {
  /** q [B, 4, S, 2] on k, v [B, 2, S, 2] repeated to 4 heads, with a bias per batch element. */
  it('masks that meet repeated heads keep their batch axis', async () => {
    const g = new GraphBuilder();
    const q = g.placeholder('q', [-1, 4, -1, 2]);
    const k = g.placeholder('k', [-1, 2, -1, 2]);
    const bias = g.placeholder('bias', [-1, 1, 1, -1]);
    const repeated = (): string => {
      const shape = g.op('Shape', [k]);
      const at = (n: number): string => g.op('StridedSlice', [shape, g.ints(n), g.ints(n + 1), g.ints(1)], {shrink_axis_mask: i(1)}); // prettier-ignore
      const tiled = g.op('Tile', [g.op('ExpandDims', [k, g.constant([2], [], 'int32')]), g.ints(1, 1, 2, 1, 1)]);
      const four = g.constant([4], [], 'int32');
      const two = g.constant([2], [], 'int32');
      return g.op('Reshape', [tiled, g.op('Pack', [at(0), four, at(2), two], {axis: i(0)})]);
    };
    const scores = g.op('AddV2', [g.matMul(q, repeated(), false, true), bias]);
    g.output(g.matMul(g.op('Softmax', [scores]), repeated()));
    const inputs = {
      q: ramp([3, 4, 5, 2]),
      k: ramp([3, 2, 5, 2], 2),
      bias: tf.tensor(Array.from({length: 15}, (_, n) => (n % 4 === 3 ? -1e9 : n / 7)), [3, 1, 1, 5]),
    }; // prettier-ignore
    const {report, difference, fused} = await compareFused(g.artifacts(), inputs);
    expect(report).toMatchObject({fused: 1, skipped: 0});
    expect(JSON.stringify(fused.modelTopology)).not.toContain('"Tile"');
    expect(difference).toBeLessThan(2e-6);
  });

  it('masks that are made by the shape of the scores', async () => {
    const g = new GraphBuilder();
    const [q, k] = [g.placeholder('q', [-1, 2, -1, 4]), g.placeholder('k', [1, 2, -1, 4])];
    const scores = g.op('Mul', [g.matMul(q, k, false, true), g.constant([0.5])]);
    const shape = g.op('Shape', [scores]);
    const at = (n: number): string => g.op('StridedSlice', [shape, g.ints(n), g.ints(n + 1), g.ints(1)], {shrink_axis_mask: i(1)}); // prettier-ignore
    const [zero, one] = [0, 1].map(n => g.constant([n], [], 'int32'));
    const row = g.op('Range', [zero, at(3), one]);
    const column = g.op('ExpandDims', [g.op('Range', [zero, at(2), one]), one]);
    const [below, low] = [g.op('LessEqual', [row, column]), g.constant([-1e9])];
    g.output(g.matMul(g.op('Softmax', [g.op('SelectV2', [below, scores, low])]), k));
    g.output(g.op('Identity', [shape], {}, 'shape'));
    const inputs = {q: ramp([3, 2, 5, 4]), k: ramp([1, 2, 5, 4], 2)};
    const {report, difference} = await compareFused(g.artifacts(), inputs);
    expect(report.sites).toMatchObject([{fused: true, options: {causal: true, queryOffset: 0}}]);
    expect(difference).toBeLessThan(1e-6);
  });

  it('one key head that all query heads read by broadcasting', async () => {
    const g = new GraphBuilder();
    const [q, k] = [g.placeholder('q', [1, 4, -1, 2]), g.placeholder('k', [1, 1, -1, 2])];
    g.output(g.attention(q, k, k));
    const {report, difference} = await compareFused(g.artifacts(), {q: ramp([1, 4, 5, 2]), k: ramp([1, 1, 5, 2], 2)});
    expect(report.fused).toBe(1);
    expect(difference).toBeLessThan(1e-6);
  });

  it('sums of inputs whose sizes have different names, as words and token types', async () => {
    const g = new GraphBuilder();
    const [x, types] = [g.placeholder('x', [-1, -1, 8]), g.placeholder('types', [-1, -1, 8])];
    const sum = g.op('AddV2', [x, types]);
    const shape = g.op('Shape', [sum]);
    const batch = g.op('StridedSlice', [shape, g.ints(0), g.ints(1), g.ints(1)], {shrink_axis_mask: i(1)});
    const sizes = [-1, 2, 4].map(size => g.constant([size], [], 'int32'));
    const target = g.op('Pack', [batch, ...sizes], {axis: i(0)});
    const heads = (): string => g.op('Transpose', [g.op('Reshape', [sum, target]), g.ints(0, 2, 1, 3)]);
    g.output(g.attention(heads(), heads(), heads()));
    const {report, difference} = await compareFused(g.artifacts(), {x: ramp([2, 5, 8]), types: ramp([2, 5, 8], 2)});
    expect(report).toMatchObject({fused: 1, skipped: 0});
    expect(difference).toBeLessThan(1e-6);
  });
});

it('weights behind a dropped one keep their values, though the last part is the longest', async () => {
  const g = new GraphBuilder();
  const x = g.op('AddV2', [g.placeholder('x', [-1, -1, 8]), g.constant([0.5])]);
  const y = g.op('Mul', [x, g.constant([2])]);
  const scores = g.op('Mul', [g.matMul(y, x, false, true), g.constant([0.25])]);
  const z = g.matMul(g.op('Softmax', [scores]), x);
  g.output(g.op('Mul', [z, g.constant([1, 2, 3, 4, 5, 6, 7, 8], [8])]));
  const artifacts = g.artifacts();
  const {report, difference} = await compareFused(artifacts, {x: ramp([2, 5, 8])});
  expect(report.fused).toBe(1);
  expect(difference).toBeLessThan(1e-6);
  const bytes = new Uint8Array((artifacts.weightData as ArrayBuffer[]).reduce((n, {byteLength}) => n + byteLength, 0));
  let at = 0;
  for (const part of artifacts.weightData as ArrayBuffer[]) {
    bytes.set(new Uint8Array(part), at);
    at += part.byteLength;
  }
  const {artifacts: fused} = fuseAttention({...artifacts, weightData: bytes.buffer});
  expect(fused.weightSpecs!.length).toBeLessThan(artifacts.weightSpecs!.length);
  expect(fused.weightData).toBeInstanceOf(ArrayBuffer);
  expect([...new Float32Array(fused.weightData as ArrayBuffer)]).toEqual([0.5, 1, 2, 3, 4, 5, 6, 7, 8]);
});
