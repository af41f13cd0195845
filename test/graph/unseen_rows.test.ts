/**
 * Rows in which the causal mask and the padding together hide every key: with large negative numbers such a row is a softmax over what
 * both hide, and fused it must be that, too. Left padding and Keras's masks of queries make such rows.
 */
import * as tf from '@tensorflow/tfjs-core';
import {describeOn, useBackend} from '../harness/node';
import {GraphBuilder, type} from './builder';
import {compareFused, opsOf, ramp} from './running';

const H = 2;
const S = 7;

interface Tools {
  g: GraphBuilder;
  /** [S, S], 1 where j ≤ i. */
  triangle: string;
  /** [B, 1, 1, S], 1 where a key counts. */
  keep: string;
  /** x · y, x + y, x − y. */
  mul(x: string, y: string): string;
  add(x: string, y: string): string;
  sub(x: string, y: string): string;
  number(value: number): string;
  /** (1 − m) · low */
  lowered(m: string, low: number): string;
}

/** Attention of x [B, H, S, 4] with scores masked in some way. */
function masked(mask: (scores: string, tools: Tools) => string): GraphBuilder {
  const g = new GraphBuilder();
  const x = g.placeholder('x', [-1, H, S, 4]);
  const kept = g.op('Cast', [g.placeholder('keep', [-1, S], 'int32')], {SrcT: type('int32'), DstT: type('float32')});
  const axis = (n: number): string => g.constant([n], [], 'int32');
  const number = (value: number): string => g.constant([value]);
  const mul = (p: string, q: string): string => g.op('Mul', [p, q]);
  const add = (p: string, q: string): string => g.op('AddV2', [p, q]);
  const sub = (p: string, q: string): string => g.op('Sub', [p, q]);
  const keep = g.op('ExpandDims', [g.op('ExpandDims', [kept, axis(1)]), axis(1)]);
  const triangle = g.constant(
    Array.from({length: S * S}, (_, n) => Number(n % S <= Math.floor(n / S))),
    [S, S],
    'float32',
    'triangle',
  );
  const lowered = (m: string, low: number): string => mul(sub(number(1), m), number(low));
  const scores = mul(g.matMul(x, x, false, true), number(0.5));
  const probabilities = g.op('Softmax', [mask(scores, {g, triangle, keep, mul, add, sub, number, lowered})]);
  return g.output(g.matMul(probabilities, x));
}

const isKept = ({g, keep}: Tools): string => g.op('Cast', [keep], {SrcT: type('float32'), DstT: type('bool')});
const isBelow = ({g, triangle}: Tools): string => g.op('Cast', [triangle], {SrcT: type('float32'), DstT: type('bool')});

/** Name, graph, whether the mask is still `causal` (nothing of N × N stays) or an input. */
const CASES: Array<[string, GraphBuilder, boolean]> = [
  ['GPT-2: scores times the triangle', masked((s, t) => t.add(t.sub(t.mul(s, t.triangle), t.mul(t.number(1e4), t.sub(t.number(1), t.triangle))), t.lowered(t.keep, -1e4))), true],
  ['two sums', masked((s, t) => t.add(t.add(s, t.lowered(t.triangle, -1e9)), t.lowered(t.keep, -1e9))), true],
  ['two sums of the lowest number', masked((s, t) => t.add(t.add(s, t.lowered(t.triangle, -3e38)), t.lowered(t.keep, -3e38))), true],
  ['BART: one sum of both', masked((s, t) => t.add(s, t.add(t.lowered(t.triangle, -1e8), t.lowered(t.keep, -1e8)))), true],
  ['padding first, of another size', masked((s, t) => t.add(t.add(s, t.lowered(t.keep, -1e9)), t.lowered(t.triangle, -1e4))), true],
  ['padding that still counts more than what is to come', masked((s, t) => t.add(t.add(s, t.lowered(t.keep, -1e4)), t.lowered(t.triangle, -1e9))), true],
  ['Keras: one product of both', masked((s, t) => t.add(s, t.lowered(t.mul(t.triangle, t.keep), -1e9))), true],
  ['the smaller of both', masked((s, t) => t.add(s, t.g.op('Minimum', [t.lowered(t.triangle, -1e9), t.lowered(t.keep, -1e9)]))), false],
  ['a choice by both', masked((s, t) => t.g.op('SelectV2', [t.g.op('LogicalAnd', [isBelow(t), isKept(t)]), s, t.number(-1e9)])), true],
  ['a choice, then a sum', masked((s, t) => t.add(t.g.op('SelectV2', [isBelow(t), s, t.number(-1e9)]), t.lowered(t.keep, -1e9))), true],
  ['a choice after the sum', masked((s, t) => t.g.op('SelectV2', [isBelow(t), t.add(s, t.lowered(t.keep, -1e9)), t.number(-1e9)])), true],
  ['Keras: queries masked, too', masked((s, t) => {
    const queries = t.g.op('Transpose', [t.keep, t.g.ints(0, 1, 3, 2)]);
    return t.add(s, t.lowered(t.mul(t.triangle, t.mul(queries, t.keep)), -1e9));
  }), false],
  ['BERT: no causal mask, the padding as low as half precision', masked((s, t) => t.add(s, t.lowered(t.keep, -1e4))), false],
  ['T5: with a bias per head', masked((s, t) => t.add(s, t.add(t.g.constant(Array.from({length: H * S * S}, (_, n) => Math.sin(n)), [1, H, S, S]), t.lowered(t.mul(t.triangle, t.keep), -1e9)))), false],
]; // prettier-ignore

/** Left padding, none, right padding, nothing kept at all. */
const KEEP = [
  [0, 0, 1, 1, 1, 1, 1],
  [1, 1, 1, 1, 1, 1, 1],
  [1, 1, 1, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0, 0],
  [0, 1, 0, 0, 1, 0, 0],
];

for (const backend of ['cpu', 'wasm', 'tensorflow', 'webgpu'] as const) {
  describeOn(backend, 'rows that see no key', () => {
    it.each(CASES)('%s', async (_, g, causal) => {
      for (const rows of [KEEP, [KEEP[1], KEEP[2]]]) {
        const inputs = {x: ramp([rows.length, H, S, 4]), keep: tf.tensor2d(rows, undefined, 'int32')};
        const {report, difference} = await compareFused(g.artifacts(), inputs);
        expect([report.fused, report.sites[0].options.causal ?? false]).toEqual([1, causal]);
        expect(difference).toBeLessThan(2e-6);
      }
    });
  });
}

describe('what cannot hide a row leaves the causal mask alone', () => {
  useBackend('cpu');

  it.each<[string, GraphBuilder]>([
    ['no other mask', masked((s, t) => t.add(s, t.lowered(t.triangle, -1e9)))],
    ['a learned bias', masked((s, t) => t.add(t.add(s, t.g.op('GatherV2', [t.g.constant([0.1, -3, 7, 2], [4, 1, 1]), t.g.constant([1, 2], [2], 'int32'), t.g.constant([0], [], 'int32')])), t.lowered(t.triangle, -1e9)))],
    ['distances, as ALiBi', masked((s, t) => {
      const [from, to, step] = [0, S, 1].map(n => t.g.constant([n], [], 'int32'));
      const j = t.g.op('Cast', [t.g.op('Range', [from, to, step])], {SrcT: type('int32'), DstT: type('float32')});
      const distance = t.g.op('Abs', [t.sub(j, t.g.op('Reshape', [j, t.g.ints(-1, 1)]))]);
      return t.add(t.sub(s, t.mul(distance, t.g.constant([0.5, 0.25], [H, 1, 1]))), t.lowered(t.triangle, -1e9));
    })],
  ])('%s', async (_, g) => {
    const inputs = {x: ramp([2, H, S, 4]), keep: tf.ones([2, S], 'int32')};
    const {report, difference, fused} = await compareFused(g.artifacts(), inputs);
    expect(report.sites).toMatchObject([{fused: true, options: {causal: true}}]);
    expect(JSON.stringify(fused.modelTopology)).not.toContain('triangle');
    expect(difference).toBeLessThan(2e-6);
  }); // prettier-ignore

  it('left as it was where the scores are multiplied by the mask and the padding has a row per query', () => {
    const g = masked((s, t) => {
      const queries = t.g.op('Transpose', [t.keep, t.g.ints(0, 1, 3, 2)]);
      const causal = t.sub(t.mul(s, t.triangle), t.mul(t.number(1e4), t.sub(t.number(1), t.triangle)));
      return t.add(causal, t.lowered(t.mul(queries, t.keep), -1e4));
    });
    return compareFused(g.artifacts(), {x: ramp([1, H, S, 4]), keep: tf.ones([1, S], 'int32')}).then(
      ({report, fused}) => {
        expect(report.sites).toMatchObject([{fused: false, reason: expect.stringMatching(/no key/) as string}]);
        expect(opsOf(fused)).toEqual(g.nodes.map(({op}) => op));
      },
    );
  });
});
