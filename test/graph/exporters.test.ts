/** What other exporters and newer models write: a scale per head, division after the values, Einsums with an ellipsis. */
import * as tf from '@tensorflow/tfjs-core';
import type {NamedTensorMap} from '@tensorflow/tfjs-core';
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import {fuseAttention, loadFusedGraphModel} from 'tfjs-flash-attention/graph';
import {useBackend} from '../harness/node';
import {GraphBuilder, b, s} from './builder';
import {compareFused, handlerOf, opsOf, ramp} from './running';

useBackend('cpu');

const KEEP = {keep_dims: b(true)};
const last = (g: GraphBuilder): string => g.ints(-1);

async function expectFused(g: GraphBuilder, inputs: NamedTensorMap, options: object = {}): Promise<void> {
  const {report, difference} = await compareFused(g.artifacts(), inputs);
  expect(report).toMatchObject({fused: 1, skipped: 0, sites: [{options}]});
  expect(difference).toBeLessThan(2e-6);
}

function expectLeft(g: GraphBuilder, reason: RegExp): void {
  const artifacts = g.artifacts();
  const {report, artifacts: result} = fuseAttention(artifacts);
  expect(report).toMatchObject({fused: 0, sites: [{reason: expect.stringMatching(reason) as string}]});
  expect(result).toBe(artifacts);
}

describe('a scale per head', () => {
  const inputs = (): NamedTensorMap => ({q: ramp([2, 3, 4, 8]), k: ramp([2, 3, 5, 8], 2), v: ramp([2, 3, 5, 6], 3)});

  function scaled(change: (g: GraphBuilder, scores: string) => string): GraphBuilder {
    const g = new GraphBuilder();
    const [q, k, v] = [g.placeholder('q', [-1, 3, -1, 8]), g.placeholder('k', [-1, 3, -1, 8]), g.placeholder('v', [-1, 3, -1, 6])]; // prettier-ignore
    return g.output(g.matMul(g.op('Softmax', [change(g, g.matMul(q, k, false, true))]), v));
  }

  it.each<[string, (g: GraphBuilder, scores: string) => string]>([
    ['[H, 1, 1] on the scores', (g, t) => g.op('Mul', [t, g.constant([0.5, 4, -2], [3, 1, 1])])],
    ['[1, H, 1, 1], on the left', (g, t) => g.op('Mul', [g.constant([0.5, 4, -2], [1, 3, 1, 1]), t])],
    ['a divisor', (g, t) => g.op('RealDiv', [t, g.constant([0.5, 4, -2], [1, 3, 1, 1])])],
    [
      'two of them, and a number',
      (g, t) => {
        const once = g.op('Mul', [t, g.constant([0.5, 4, -2], [3, 1, 1])]);
        const twice = g.op('RealDiv', [once, g.constant([3, 0.1, 7], [3, 1, 1])]);
        return g.op('Mul', [twice, g.constant([0.3])]);
      },
    ],
    [
      'Swin v2: exp of a clipped logit scale, a relative bias behind it',
      (g, t) => {
        const clipped = g.op('Minimum', [g.constant([0.1, 1, 9], [3, 1, 1]), g.constant([Math.log(100)])]);
        const bias = g.constant(
          Array.from({length: 60}, (_, n) => Math.sin(n)),
          [1, 3, 4, 5],
        );
        return g.op('AddV2', [g.op('Mul', [t, g.op('Exp', [clipped])]), bias]);
      },
    ],
  ])('%s', (_, change) => expectFused(scaled(change), inputs()));

  it('on q or on k, which are the op’s inputs as they are', async () => {
    for (const on of ['q', 'k']) {
      const g = new GraphBuilder();
      const tensors = ['q', 'k'].map(name => g.placeholder(name, [-1, 3, -1, 8]));
      const factor = g.constant([0.5, 4, -2], [3, 1, 1]);
      const [q, k] = tensors.map(x => (x === on ? g.op('Mul', [x, factor]) : x));
      g.output(g.attention(q, k, tensors[1]));
      await expectFused(g, {q: ramp([2, 3, 4, 8]), k: ramp([2, 3, 5, 8], 2)});
    }
  });

  it('where the heads of q lie behind the positions', async () => {
    const g = new GraphBuilder();
    const [x, y] = ['x', 'y'].map(name => g.placeholder(name, [-1, -1, 12]));
    const heads = (t: string): string => {
      const at = g.op('StridedSlice', [g.op('Shape', [t]), g.ints(0), g.ints(2), g.ints(1)]);
      const target = g.op('ConcatV2', [at, g.ints(3, 4), g.constant([0], [], 'int32')]);
      return g.op('Transpose', [g.op('Reshape', [t, target]), g.ints(0, 2, 1, 3)]);
    };
    const scores = g.op('Mul', [g.matMul(heads(x), heads(y), false, true), g.constant([0.5, 4, -2], [3, 1, 1])]);
    g.output(g.matMul(g.op('Softmax', [scores]), heads(y)));
    await expectFused(g, {x: ramp([2, 4, 12]), y: ramp([2, 5, 12], 2)});
  });

  it('on one query head for all, which the factor makes several', async () => {
    const g = new GraphBuilder();
    const [q, k] = [g.placeholder('q', [1, 1, -1, 8]), g.placeholder('k', [1, 1, -1, 8])];
    const scores = g.op('Mul', [g.matMul(q, k, false, true), g.constant([0.5, 4, -2], [3, 1, 1])]);
    g.output(g.matMul(g.op('Softmax', [scores]), k));
    await expectFused(g, {q: ramp([1, 1, 4, 8]), k: ramp([1, 1, 5, 8], 2)});
  });

  it('not behind a mask, which it would scale, too', () => {
    const masked = scaled((g, t) => {
      const low = g.op('AddV2', [t, g.placeholder('mask', [1, 1, 1, -1])]);
      return g.op('Mul', [low, g.constant([0.5, 4, 2], [3, 1, 1])]);
    });
    expectLeft(masked, /scales masked scores by a number that differs from head to head$/);
  });

  it('not one per query', () => {
    const perQuery = scaled((g, t) => g.op('Mul', [t, g.constant([1, 2, 3, 4], [4, 1])]));
    expectLeft(perQuery, /multiplied by '.*', which is no known factor$/);
  });
});

describe('division by the sum after the product with v', () => {
  const inputs = (): NamedTensorMap => ({q: ramp([2, 3, 4, 8]), k: ramp([2, 3, 5, 8], 2), v: ramp([2, 3, 5, 6], 3)});

  interface Parts {
    g: GraphBuilder;
    /** exp of the scores less their maximum. */
    e: string;
    v: string;
    sum: () => string;
  }

  function divided(finish: (parts: Parts) => string, {max = true} = {}): GraphBuilder {
    const g = new GraphBuilder();
    const [q, k, v] = [g.placeholder('q', [-1, 3, -1, 8]), g.placeholder('k', [-1, 3, -1, 8]), g.placeholder('v', [-1, 3, -1, 6])]; // prettier-ignore
    const scores = g.op('Mul', [g.matMul(q, k, false, true), g.constant([0.5])]);
    const e = g.op('Exp', [max ? g.op('Sub', [scores, g.op('Max', [scores, last(g)], KEEP)]) : scores]);
    return g.output(finish({g, e, v, sum: () => g.op('Sum', [e, last(g)], KEEP)}));
  }

  it.each<[string, GraphBuilder]>([
    ['RealDiv', divided(({g, e, v, sum}) => g.op('RealDiv', [g.matMul(e, v), sum()]))],
    ['without a maximum', divided(({g, e, v, sum}) => g.op('RealDiv', [g.matMul(e, v), sum()]), {max: false})],
    ['its reciprocal', divided(({g, e, v, sum}) => g.op('Mul', [g.op('Reciprocal', [sum()]), g.matMul(e, v)]))],
    [
      'a sum that lost its axis',
      divided(({g, e, v}) => g.op('RealDiv', [g.matMul(e, v), g.op('ExpandDims', [g.op('Sum', [e, last(g)]), g.constant([-1], [], 'int32')])])), // prettier-ignore
    ],
    ['an epsilon', divided(({g, e, v, sum}) => g.op('RealDiv', [g.matMul(e, v), g.op('AddV2', [sum(), g.constant([1e-9])])]))], // prettier-ignore
    [
      'both transposed',
      divided(({g, e, v, sum}) => {
        const [x, y] = [g.matMul(e, v), sum()].map(t => g.op('Transpose', [t, g.ints(0, 2, 1, 3)]));
        return g.op('RealDiv', [x, y]);
      }),
    ],
    [
      'an Einsum that puts the heads behind',
      divided(({g, e, v, sum}) => {
        const x = g.op('Einsum', [e, v], {equation: s('bhqk,bhkd->bqhd')});
        return g.op('RealDiv', [x, g.op('Transpose', [sum(), g.ints(0, 2, 1, 3)])]);
      }),
    ],
    [
      'heads merged behind it',
      divided(({g, e, v, sum}) => {
        const x = g.op('Transpose', [g.op('RealDiv', [g.matMul(e, v), sum()]), g.ints(0, 2, 1, 3)]);
        return g.op('Reshape', [x, g.ints(2, 4, 18)]);
      }),
    ],
  ])('%s', (_, g) => expectFused(g, inputs(), {scale: 0.5}));

  it.each<[string, GraphBuilder, RegExp]>([
    [
      'of other rows',
      divided(({g, e, v, sum}) => g.op('RealDiv', [g.matMul(e, v), g.op('Transpose', [sum(), g.ints(1, 0, 2, 3)])])),
      /is not divided by their sum$/,
    ],
    ['never', divided(({g, e, v, sum}) => g.op('AddV2', [g.matMul(e, v), sum()])), /is not divided by their sum$/],
    [
      'of a sum that counts an epsilon',
      divided(({g, e, v, sum}) => g.op('RealDiv', [g.matMul(e, v), g.op('AddV2', [sum(), g.constant([0.1])])])),
      /is not divided by their sum$/,
    ],
    [
      'where the exponentials are used again',
      divided(({g, e, v, sum}) => {
        g.output(g.op('Identity', [e]));
        return g.op('RealDiv', [g.matMul(e, v), sum()]);
      }),
      /is an output of the model|is also used by/,
    ],
    [
      'where the product is used again',
      divided(({g, e, v, sum}) => {
        const product = g.matMul(e, v);
        g.output(g.op('Identity', [product]));
        return g.op('RealDiv', [product, sum()]);
      }),
      /is not divided by their sum$/,
    ],
  ])('not %s', (_, g, reason) => expectLeft(g, reason));
});

describe('Einsums with an ellipsis', () => {
  const equation = (text: string) => ({equation: s(text)});

  /** tfjs has no ellipsis: the same by matMul is what it must agree with. */
  async function expectSame(einsum: GraphBuilder, matMul: GraphBuilder, inputs: NamedTensorMap): Promise<void> {
    const {model, report} = await loadFusedGraphModel(handlerOf(einsum.artifacts()));
    expect(report).toMatchObject({fused: 1, skipped: 0});
    const plain = await loadGraphModel(handlerOf(matMul.artifacts()));
    const [x, y] = [model, plain].map(each => each.predict(inputs) as tf.Tensor);
    expect(x.shape).toEqual(y.shape);
    expect(tf.max(tf.abs(tf.sub(x, y))).dataSync()[0]).toBeLessThan(2e-6);
  }

  function einsums(shape: number[] | undefined, [scores, values]: [string, string]): GraphBuilder {
    const g = new GraphBuilder();
    const [q, k, v] = ['q', 'k', 'v'].map(name => g.placeholder(name, shape ?? []));
    if (!shape) for (const {attr} of g.nodes) attr!.shape = {shape: {unknownRank: true}};
    const logits = g.op('Mul', [g.op('Einsum', [q, k], equation(scores)), g.constant([0.5])]);
    return g.output(g.op('Einsum', [g.op('Softmax', [logits]), v], equation(values)));
  }

  function matMuls(rank: number): GraphBuilder {
    const g = new GraphBuilder();
    const [q, k, v] = ['q', 'k', 'v'].map(name => g.placeholder(name, Array<number>(rank).fill(-1)));
    return g.output(g.attention(q, k, v));
  }

  const inputs = (...batch: number[]): NamedTensorMap => ({
    q: ramp([...batch, 4, 8]),
    k: ramp([...batch, 5, 8], 2),
    v: ramp([...batch, 5, 8], 3),
  });

  it.each<[string, number[] | undefined, [string, string], number[]]>([
    ['rank 2', [-1, 8], ['...qd,...kd->...qk', '...qk,...kd->...qd'], []],
    ['rank 3', [-1, -1, 8], ['...qd,...kd->...qk', '...qk,...kd->...qd'], [2]],
    ['rank 4, other letters', [-1, 3, -1, 8], ['...nE,...mE->...nm', '...ab, ...bc -> ...ac'], [2, 3]],
    ['rank 4, some named', [-1, 3, -1, 8], ['...hqd,...hkd->...hqk', '...hqk,...hkd->...hqd'], [2, 3]],
    ['rank 5', [-1, 2, 3, -1, 8], ['...qd,...kd->...qk', '...qk,...kd->...qd'], [2, 2, 3]],
    ['unknown rank', undefined, ['...qd,...kd->...qk', '...qk,...kd->...qd'], [2, 3]],
    ['behind a letter', [-1, 3, -1, 8], ['b...qd,b...kd->b...qk', 'b...qk,b...kd->b...qd'], [2, 3]],
    ['without need', [-1, 3, -1, 8], ['bh...qd,bh...kd->bh...qk', 'bhqk,bhkd->bhqd'], [2, 3]],
  ])('%s', (_, shape, equations, batch) => expectSame(einsums(shape, equations), matMuls(batch.length + 2), inputs(...batch))); // prettier-ignore

  it('with projections, which matMul does, and heads behind the positions', async () => {
    const weights = (g: GraphBuilder): string => {
      const values = Array.from({length: 8 * 2 * 4}, (_, n) => Math.sin(n) / 2);
      return g.constant(values, [8, 2, 4]);
    };
    const build = (ellipsis: boolean): GraphBuilder => {
      const g = new GraphBuilder();
      const x = g.placeholder('x', [-1, -1, 8]);
      const [w, e] = [weights(g), (text: string): string => (ellipsis ? text : text.replaceAll('...', 'b'))];
      const einsum = (text: string, ...inputs: string[]): string => g.op('Einsum', inputs, equation(e(text)));
      const q = einsum('...td,dhf->...thf', x, w);
      const k = einsum('...td,dhf->...thf', x, w);
      const p = g.op('Softmax', [einsum('...qhd,...khd->...hqk', q, k)]);
      return g.output(einsum('...thf,dhf->...td', einsum('...hqk,...khd->...qhd', p, k), w));
    };
    await expectSame(build(true), build(false), {x: ramp([2, 5, 8])});
    expect(opsOf(fuseAttention(build(true).artifacts()).artifacts)).not.toContain('Einsum');
  });

  it('an Einsum that sums over the axes of its ellipsis is left', () => {
    expectLeft(
      einsums([-1, 3, -1, 8], ['...qd,...kd->qk', 'qk,...kd->...qd']),
      /the scores come from Einsum '.*', not from a product/,
    );
  });
});
