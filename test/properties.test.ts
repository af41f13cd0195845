/**
 * What must hold of attention whatever the numbers: laws checked on random calls (fast-check), on the kernel that cpu prefers and on
 * `composed`. The calls are the same in every run; FAST_CHECK_SEED=… tries others.
 */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import {flashAttention, flashAttentionWithLse, mergeAttention} from 'tfjs-flash-attention';
import type {FlashAttentionOptions} from 'tfjs-flash-attention';
import {forceImplementation} from '../src/register';
import {expectClose, magnitude} from './closeness';
import {describeOn} from './harness/node';
import {normalNumbers, randomGenerator} from './inputs';

const SEED = Number(process.env.FAST_CHECK_SEED ?? 2022);
/** Both sides of a law may be off by what the contract allows. */
const OUTPUT = 2 * 4e-6;
const GRADIENT = 2 * 2e-5;

/** A call of rank 4 in 'BHSD', by sizes and the options that the law leaves alone. */
interface Call {
  B: number;
  Hkv: number;
  /** Query heads per key head. */
  group: number;
  Sq: number;
  Sk: number;
  D: number;
  Dv: number;
  seed: number;
  scale?: number;
  softcap?: number;
  hasBias: boolean;
  hasMask: boolean;
  hasSinks: boolean;
}

const call: fc.Arbitrary<Call> = fc.record({
  B: fc.integer({min: 1, max: 2}),
  Hkv: fc.integer({min: 1, max: 3}),
  group: fc.integer({min: 1, max: 3}),
  Sq: fc.oneof({weight: 6, arbitrary: fc.integer({min: 1, max: 9})}, {weight: 1, arbitrary: fc.constantFrom(64, 65)}),
  Sk: fc.oneof(
    {weight: 3, arbitrary: fc.integer({min: 1, max: 9})},
    {weight: 1, arbitrary: fc.integer({min: 60, max: 70})},
  ),
  D: fc.integer({min: 1, max: 9}),
  Dv: fc.integer({min: 1, max: 9}),
  seed: fc.nat({max: 2 ** 20}),
  scale: fc.option(fc.double({min: -2, max: 2, noNaN: true}), {nil: undefined}),
  softcap: fc.option(fc.double({min: 0.5, max: 30, noNaN: true}), {nil: undefined}),
  hasBias: fc.boolean(),
  hasMask: fc.boolean(),
  hasSinks: fc.boolean(),
});

type Shape4D = [number, number, number, number];

interface Tensors {
  q: tf.Tensor4D;
  k: tf.Tensor4D;
  v: tf.Tensor4D;
  options: FlashAttentionOptions;
}

function normal<R extends tf.Rank>(shape: tf.ShapeMap[R], seed: number): tf.Tensor<R> {
  return tf.tensor<R>(normalNumbers(tf.util.sizeFromShape(shape), seed), shape, 'float32');
}

function tensorsOf({B, Hkv, group, Sq, Sk, D, Dv, seed, scale, softcap, hasBias, hasMask, hasSinks}: Call): Tensors {
  const H = Hkv * group;
  const random = randomGenerator(seed + 5);
  const visible = Array.from({length: B * Sq * Sk}, () => random() < 0.8);
  return {
    q: normal([B, H, Sq, D], seed),
    k: normal([B, Hkv, Sk, D], seed + 1),
    v: normal([B, Hkv, Sk, Dv], seed + 2),
    options: {
      ...(scale !== undefined && {scale}),
      ...(softcap !== undefined && {softcap}),
      ...(hasBias && {bias: normal([H, Sq, Sk], seed + 3)}),
      ...(hasMask && {mask: tf.tensor(visible, [B, 1, Sq, Sk], 'bool')}),
      ...(hasSinks && {sinks: normal([H], seed + 4)}),
    },
  };
}

const nothing = fc.constant(null);

function expectSame(what: string, actual: tf.Tensor, expected: tf.Tensor, tolerance: number): void {
  expect(actual.shape).toEqual(expected.shape);
  const values = expected.dataSync();
  expectClose(what, actual.dataSync(), values, tolerance * magnitude(values), expected.shape);
}

/** dq, dk, dv of Σ output · weights. */
function gradients({q, k, v, options}: Tensors, weights: tf.Tensor): tf.Tensor[] {
  const loss = (...x: tf.Tensor[]): tf.Tensor => tf.sum(tf.mul(flashAttention(x[0], x[1], x[2], options), weights));
  return tf.grads(loss)([q, k, v]);
}

function expectSameGradients(actual: tf.Tensor[], expected: tf.Tensor[]): void {
  ['dq', 'dk', 'dv'].forEach((name, i) => expectSame(name, actual[i], expected[i], GRADIENT));
}

function shuffled(n: number, seed: number): number[] {
  const random = randomGenerator(seed);
  const keys = Array.from({length: n}, (_, key) => ({key, at: random()}));
  return keys.sort((a, b) => a.at - b.at).map(({key}) => key);
}

function laws(numRuns: number): void {
  /** Holds `law` against random calls; whatever tensors it makes are disposed of. */
  const holds = <T>(more: fc.Arbitrary<T>, law: (call: Call, more: T) => void): void => {
    fc.assert(
      fc.property(call, more, (c, m) => tf.tidy(() => law(c, m))),
      {seed: SEED, numRuns},
    );
  };

  it('the order of the keys does not matter', () => {
    holds(nothing, c => {
      const {q, k, v, options} = tensorsOf(c);
      const order = tf.tensor1d(shuffled(c.Sk, c.seed), 'int32');
      const permute = <T extends tf.Tensor>(x: T, axis: number): T => tf.gather(x, order, axis);
      const permuted: FlashAttentionOptions = {
        ...options,
        ...(options.bias && {bias: permute(options.bias as tf.Tensor, 2)}),
        ...(options.mask && {mask: permute(options.mask as tf.Tensor, 3)}),
      };
      const expected = flashAttentionWithLse(q, k, v, options);
      const actual = flashAttentionWithLse(q, permute(k, 2), permute(v, 2), permuted);
      expectSame('output', actual.output, expected.output, OUTPUT);
      expectSame('lse', actual.lse, expected.lse, OUTPUT);
      const weights = normal(expected.output.shape as Shape4D, c.seed + 6);
      const [dq, dk, dv] = gradients({q, k, v, options}, weights);
      expectSameGradients(gradients({q, k: permute(k, 2), v: permute(v, 2), options: permuted}, weights), [
        dq,
        permute(dk, 2),
        permute(dv, 2),
      ]);
    });
  });

  it('two parts of the keys, attended apart and merged, give the whole', () => {
    const how = fc.record({
      at: fc.double({min: 0, max: 1, noNaN: true}),
      causal: fc.boolean(),
      left: fc.integer({min: -1, max: 8}),
    });
    holds(how, (c, {at, causal, left}) => {
      const {q, k, v, options} = tensorsOf(c);
      const cut = Math.round(at * c.Sk);
      const part = (begin: number, end: number): FlashAttentionOptions => ({
        ...options,
        causal,
        window: [left, -1],
        queryOffset: c.Sk - c.Sq - begin,
        ...(options.bias && {bias: tf.slice(options.bias, [0, 0, begin], [-1, -1, end - begin])}),
        ...(options.mask && {mask: tf.slice(options.mask, [0, 0, 0, begin], [-1, -1, -1, end - begin])}),
        ...(begin > 0 && {sinks: undefined}),
      });
      const attend = (begin: number, end: number) => {
        const keys = <T extends tf.Tensor>(x: T): T => tf.slice(x, [0, 0, begin, 0], [-1, -1, end - begin, -1]);
        return flashAttentionWithLse(q, keys(k), keys(v), part(begin, end));
      };
      // The sink belongs to one part only: the first, also where that is the whole or holds no key.
      const second = cut === 0 ? {...part(0, c.Sk), sinks: undefined} : undefined;
      const whole = attend(0, c.Sk);
      const merged = mergeAttention(
        attend(0, cut),
        second ? flashAttentionWithLse(q, k, v, second) : attend(cut, c.Sk),
      );
      expectSame('output', merged.output, whole.output, OUTPUT);
      expectSame('lse', merged.lse, whole.lse, OUTPUT);
    });
  });

  it('a constant added to all scores changes lse by it, and nothing else', () => {
    holds(fc.double({min: -100, max: 100, noNaN: true}), (c, constant) => {
      const {q, k, v, options} = tensorsOf({...c, hasSinks: false});
      const raised = {...options, bias: tf.add((options.bias as tf.Tensor) ?? 0, constant)};
      const expected = flashAttentionWithLse(q, k, v, options);
      const actual = flashAttentionWithLse(q, k, v, raised);
      // Rounding of score + constant to float32 moves each probability.
      const rounding = OUTPUT + 2 ** -23 * Math.abs(constant);
      expectSame('output', actual.output, expected.output, rounding);
      expectSame('lse', actual.lse, tf.add(expected.lse, constant), OUTPUT);
    });
  });

  it('one-hot values give the probabilities: exp(score − lse), 0 where hidden, adding up to 1', () => {
    holds(nothing, c => {
      const {q, k, options} = tensorsOf({...c, group: 1, softcap: undefined, hasSinks: false});
      const {B, Hkv: H, Sq, Sk} = c;
      const v: tf.Tensor4D = tf.tile(tf.reshape(tf.eye(Sk), [1, 1, Sk, Sk]), [B, H, 1, 1]);
      const {output, lse} = flashAttentionWithLse(q, k, v, options);
      const scaled = tf.mul(tf.matMul(q, k, false, true), c.scale ?? 1 / Math.sqrt(c.D));
      const scores = options.bias ? tf.add(scaled, options.bias) : scaled;
      const mask = tf.broadcastTo((options.mask as tf.Tensor) ?? tf.tensor(true), [B, H, Sq, Sk]);
      const seesAny = tf.notEqual(lse, -Infinity);
      const p = tf.exp(tf.sub(scores, tf.expandDims(tf.where(seesAny, lse, 0), -1)));
      expectSame('probabilities', output, tf.where(mask, p, 0), 2 * OUTPUT);
      expectSame('row sums', tf.sum(output, -1), tf.cast(seesAny, 'float32'), OUTPUT);
      expect(tf.max(tf.where(mask, 0, tf.abs(output))).dataSync()[0]).toBe(0);
    });
  });

  it('grouped heads equal key and value heads repeated', () => {
    holds(nothing, c => {
      const {q, k, v, options} = tensorsOf(c);
      const heads = tf.range(0, c.Hkv * c.group, 1, 'int32');
      const repeat = (x: tf.Tensor4D): tf.Tensor4D => tf.gather(x, tf.floorDiv(heads, tf.scalar(c.group, 'int32')), 1);
      const repeated = {q, k: repeat(k), v: repeat(v), options};
      const expected = flashAttention(q, repeated.k, repeated.v, options);
      expectSame('output', flashAttention(q, k, v, options), expected, OUTPUT);
      const weights = normal(expected.shape as Shape4D, c.seed + 6);
      const [dq, dk, dv] = gradients(repeated, weights);
      const addGroups = (x: tf.Tensor): tf.Tensor => {
        const [B, , S, width] = x.shape;
        return tf.reshape(tf.sum(tf.reshape(x, [B, c.Hkv, c.group, S, width]), 2), [B, c.Hkv, S, width]);
      };
      expectSameGradients(gradients({q, k, v, options}, weights), [dq, addGroups(dk), addGroups(dv)]);
    });
  });

  it(`layout 'BSHD' is a transposition of 'BHSD'`, () => {
    holds(fc.boolean(), (c, causal) => {
      const {q, k, v, options} = tensorsOf(c);
      const swap = (x: tf.Tensor): tf.Tensor4D => tf.transpose(x, [0, 2, 1, 3]) as tf.Tensor4D;
      const one = {q, k, v, options: {...options, causal}};
      const other = {q: swap(q), k: swap(k), v: swap(v), options: {...options, causal, layout: 'BSHD' as const}};
      const expected = flashAttention(q, k, v, one.options);
      expectSame('output', swap(flashAttention(other.q, other.k, other.v, other.options)), expected, OUTPUT);
      const weights = normal(expected.shape as Shape4D, c.seed + 6);
      expectSameGradients(gradients(other, swap(weights)).map(swap), gradients(one, weights));
    });
  });
}

describeOn('cpu', 'the preferred kernel', () => laws(40));

describeOn('cpu', 'composed', () => {
  beforeAll(() => forceImplementation('composed'));
  afterAll(() => forceImplementation(null));
  laws(10);
});
