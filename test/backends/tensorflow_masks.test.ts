/** Calls with a bias, mask or keyLengths that are large enough for tfjs-node's graph: the usual cases are too small for it. */
import * as tf from '@tensorflow/tfjs-core';
import {explain, flashAttention, flashAttentionWithLse} from '../../src';
import {forceImplementation, implementationsOf} from '../../src/register';
import {attentionCase} from '../attention_case';
import type {AttentionCase, CaseOptions, Given} from '../attention_case';
import {expectClose, expectSameBits} from '../closeness';
import {leavingNothing} from '../contract/contract_test';
import type {ContractTest} from '../contract/contract_test';
import {contractTests} from '../contract';
import {brokenKeys, hiddenFromAll, poisonedCache} from '../contract/hidden';
import {checkCase, optionsOf, runForward} from '../contract/run_case';
import {toTensors} from '../contract/run';
import {describeOn} from '../harness/node';
import {makeInputs, shapesOfCase} from '../inputs';

/** B · H · Sq · Sk · (D + Dv) is above 2²⁴. */
const SIZES: Given = {B: 2, H: 2, Sq: 190, Sk: 220, D: 64, Dv: 40};
const caseOf = (name: string, options: CaseOptions, given: Given = {}): AttentionCase =>
  attentionCase(name, {...SIZES, options, ...given});

const LARGE: AttentionCase[] = [
  caseOf('padding as a bias', {bias: {shape: [2, 1, 1, 220], fill: 'some −1e9'}}),
  caseOf('a mask that hides rows, heads last', {mask: {shape: [190, 220], fill: 'some rows none'}}, {layout: 'BSHD'}),
  caseOf('blocks of rows, a bias per batch and one of keys', {
    bias: {shape: [2, 1, 600, 70], fill: 'normal'}, mask: {shape: [2, 1, 1, 70], fill: 'random'},
  }, {Sq: 600, Sk: 70}),
]; // prettier-ignore

const POISONED: ContractTest[] = [
  ...[NaN, Infinity].map(x => poisonedCache(caseOf('keyLengths', {keyLengths: [133, 0]}), String(x), () => x)),
  poisonedCache(caseOf('keyLengths, dense bias', {keyLengths: [133, 219], bias: {shape: [190, 220], fill: 'normal'}}), 'NaN', () => NaN),
  ...[NaN, -Infinity, 1e30].flatMap(k => [
    brokenKeys(caseOf('mask', {mask: {shape: [190, 220], fill: 'random'}}), k, 1e30),
    brokenKeys(caseOf('bias −∞', {bias: {shape: [2, 2, 190, 220], fill: 'some −Infinity'}}), k, 1e30),
  ]),
  hiddenFromAll(caseOf('mask of keys', {mask: {shape: [1, 220], fill: 'random'}})),
]; // prettier-ignore

/** The contract's own cases, as if none were too small. */
describeOn('tensorflow', 'small calls with bias, mask and keyLengths in the graph', () => {
  const [blocked] = implementationsOf('tensorflow');
  const {unsupported} = blocked;
  const TOO_SMALL = /^so small|^heads this narrow/;
  beforeEach(() => {
    jest.spyOn(blocked, 'unsupported').mockImplementation((problem, backend) => {
      const reason = unsupported(problem, backend);
      return reason !== null && TOO_SMALL.test(reason) ? null : reason;
    });
  });
  afterEach(() => jest.restoreAllMocks());

  const tests = contractTests({backend: 'tensorflow', selection: 'all'});
  const chosen = tests.filter(({name}) =>
    /^(case|random).*(bias|mask|keyLengths)|^(poisoned|hidden|NaN shows)/.test(name),
  );
  let served = 0;

  it.each(chosen)('$name', async ({run}) => {
    const forward = jest.spyOn(blocked, 'forward');
    await run();
    served += Number(forward.mock.calls.length > 0);
  });
  it('were served by the graph, where no other option was theirs', () => expect(served).toBeGreaterThan(70));
});

describeOn('tensorflow', 'bias, mask and keyLengths in the graph', () => {
  beforeEach(() => forceImplementation('blocked'));
  afterEach(() => forceImplementation(null));

  it.each(LARGE)('$name', async c => {
    await checkCase(c);
  });

  it.each(POISONED.map(leavingNothing))('$name', async ({run}) => {
    await run();
  });

  it('is what explain names and what serves, without being forced', async () => {
    forceImplementation(null);
    const [c] = LARGE;
    const spy = jest.spyOn(implementationsOf('tensorflow')[0], 'forward');
    const x = toTensors(makeInputs(c));
    expect(explain(x.q, x.k, x.v, optionsOf(c, x)).implementation).toBe('blocked');
    tf.dispose([x, flashAttention(x.q, x.k, x.v, optionsOf(c, x))]);
    expect(spy).toHaveBeenCalledTimes(1);
    spy.mockRestore();
  });

  it('gives way to SIMD where it gains nothing, or would repeat the bias', () => {
    forceImplementation(null);
    const served = (given: Given, options: CaseOptions): string => {
      const c = caseOf('', options, given);
      const x = toTensors(makeInputs(c));
      const {implementation} = explain(x.q, x.k, x.v, optionsOf(c, x));
      tf.dispose(x);
      return implementation;
    };
    expect(served({B: 1, H: 4, Sq: 128, Sk: 128, Dv: 64}, {keyLengths: [100]})).toBe('simd');
    expect(served({B: 1, H: 8, Sq: 128, Sk: 128, Dv: 64}, {keyLengths: [100]})).toBe('blocked');
    expect(served({H: 4, Hkv: 2}, {mask: {shape: [190, 220], fill: 'random'}})).toBe('simd');
    expect(served({}, {keyLengths: [100, 100], causal: true})).toBe('simd');
  });

  it('what is added is NaN at one place: its row is NaN, the others keep every bit', async () => {
    const c = caseOf('NaN in the bias', {bias: {shape: [2, 190, 220], fill: 'some −Infinity'}});
    const expected = await runForward(c, makeInputs(c));
    const broken = makeInputs(c);
    broken.bias!.values[(1 * 190 + 5) * 220 + 33] = NaN;
    const actual = await runForward(c, broken);
    const {Sq, Dv} = c;
    const rows = new Set<number>();
    Array.from(actual).forEach((x, n) => Number.isNaN(x) && rows.add(Math.floor(n / Dv)));
    expect([...rows]).toEqual([Sq + 5, 3 * Sq + 5]);
    const kept = (values: ArrayLike<number>): number[] =>
      Array.from(values).filter((_, n) => !rows.has(Math.floor(n / Dv)));
    expectSameBits('the other rows', kept(actual), kept(expected));
  });

  it('a NaN in v shows where it is seen, and in q where anything is', async () => {
    const c = caseOf('NaN', {keyLengths: [0, 100]});
    const broken = makeInputs(c);
    const {H, Sq, Sk, D, Dv} = c;
    broken.q.values[((1 * H + 1) * Sq + 7) * D] = NaN;
    broken.q.values[((0 * H + 1) * Sq + 7) * D] = NaN;
    broken.v.values[(1 * H * Sk + 99) * Dv + 3] = NaN;
    const actual = await runForward(c, broken);
    Array.from(actual).forEach((x, n) => {
      const [row, e] = [Math.floor(n / Dv), n % Dv];
      const [b, h, i] = [Math.floor(row / (H * Sq)), Math.floor(row / Sq) % H, row % Sq];
      if (b === 0) expect(x).toBe(0);
      else expect(Number.isNaN(x)).toBe(h === 1 ? i === 7 : e === 3);
    });
  });

  it('lse is the same whether or not a row that sees nothing is beside', () => {
    const c = caseOf('lse', {keyLengths: [150, 150]});
    const x = toTensors(makeInputs(c));
    const lseOf = (lengths: number[]) =>
      tf.tidy(() => flashAttentionWithLse(x.q, x.k, x.v, {keyLengths: lengths}).lse.dataSync());
    const [all, none] = [lseOf([150, 150]), lseOf([150, 0])];
    const half = all.length / 2;
    expectSameBits('lse', none.subarray(0, half), all.subarray(0, half));
    expect(new Set(none.subarray(half))).toEqual(new Set([-Infinity]));
    tf.dispose(x);
  });

  it('a mask of [Sq, Sk] is the same as the bias that it stands for', async () => {
    const c = caseOf('mask', {mask: {shape: [190, 220], fill: 'random'}});
    const x = toTensors(makeInputs(c));
    const bias = tf.tidy(() => tf.mul(tf.sub(tf.cast(x.mask, 'float32'), 1), 1e9));
    const [masked, biased] = [flashAttention(x.q, x.k, x.v, {mask: x.mask}), flashAttention(x.q, x.k, x.v, {bias})];
    expectClose('output', await masked.data(), Float64Array.from(await biased.data()), 1e-6, shapesOfCase(c).output);
    tf.dispose([x, bias, masked, biased]);
  });
});
