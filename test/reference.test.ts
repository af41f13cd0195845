/** The reference itself: against published numbers, known answers, and its own finite differences. */
import {attentionCase, CASES, isPartOf} from './cases';
import type {AttentionCase} from './cases';
import {expectClose} from './closeness';
import {makeCotangents, makeInputs, normalNumbers} from './inputs';
import type {CaseInputs} from './inputs';
import {PUBLISHED} from './published';
import {philox4x32, referenceAttention, referenceGradients, referenceSoftmax, toFloat16} from './reference';
import type {ReferenceGradients} from './reference';

describe('published numbers', () => {
  it.each(PUBLISHED.map(published => [published.c.name, published] as const))('%s', (name, {c, inputs, output}) => {
    // ONNX's are computed and printed in float32.
    expectClose(name, referenceAttention(c, inputs).output, output, 1e-6);
  });

  it('has all ten tests', () => expect(PUBLISHED).toHaveLength(10));
});

/** Random123's tests/kat_vectors (D. E. Shaw Research): philox4x32, 10 rounds. */
const PHILOX: [string, string, string][] = [
  ['00000000 00000000 00000000 00000000', '00000000 00000000', '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
  ['ffffffff ffffffff ffffffff ffffffff', 'ffffffff ffffffff', '408f276d 41c83b0e a20bc7c6 6d5451fd'],
  ['243f6a88 85a308d3 13198a2e 03707344', 'a4093822 299f31d0', 'd16cfe09 94fdcceb 5001e420 24126ea1'],
];

it.each(PHILOX)('Philox-4x32-10 of counter %s, key %s', (counter, key, words) => {
  const parse = (hex: string): number[] => hex.split(' ').map(word => parseInt(word, 16));
  expect(philox4x32(parse(counter), parse(key))).toEqual(parse(words));
});

/** IEEE 754 binary16: value, nearest half. */
const HALVES: [number, number][] = [
  [0, 0], [1, 1], [-2.5, -2.5], [0.1, 0.0999755859375], [1 / 3, 0.333251953125], [2049, 2048], [2051, 2052], [65504, 65504],
  [65519, 65504], [65520, Infinity], [-1e6, -Infinity], [2 ** -24, 2 ** -24], [2 ** -25, 0], [1.5 * 2 ** -24, 2 ** -23],
  [6.1e-5, 6.097555160522461e-5],
]; // prettier-ignore

it.each(HALVES)('float16 of %d is %d', (x, half) => expect(toFloat16(x)).toBe(half));

it('softmax of the reference adds up to one and keeps ratios', () => {
  const p = referenceSoftmax([0, Math.log(2), Math.log(5)], 3);
  expectClose('softmax', p, [1 / 8, 2 / 8, 5 / 8], 1e-15);
});

it('attention of two equal keys is the mean of their values', () => {
  const c = attentionCase('mean', {H: 1, Sq: 1, Sk: 2, D: 1, Dv: 2});
  const array = (shape: number[], values: number[]) => ({
    shape,
    dtype: 'float32' as const,
    values: Float32Array.from(values),
  });
  const inputs = {q: array([1, 1, 1, 1], [2]), k: array([1, 1, 2, 1], [3, 3]), v: array([1, 1, 2, 2], [1, 10, 3, 30])};
  const {output, lse} = referenceAttention(c, inputs);
  expectClose('output', output, [2, 20], 1e-15);
  expectClose('lse', lse, [6 + Math.log(2)], 1e-14);
});

/** Every option has a case here; the step is taken along one random direction per input. */
describe('gradients are the slopes of the forward reference', () => {
  const cases = CASES.filter(({gradients, float32Bias, selection, Sq, Sk, options}) => {
    const isSmooth = gradients === 'compared' && !float32Bias && options.precision === undefined;
    return (
      isSmooth &&
      isPartOf('core', selection) &&
      Sq * Sk > 0 &&
      Sq * Sk < 5000 &&
      options.bias?.fill !== 'some rows lowest' &&
      options.bias?.fill !== 'everywhere lowest'
    );
  });

  it.each(cases.map(c => [c.name, c] as const))('%s', (_name, c) => {
    const inputs = makeInputs(c);
    const {dOutput, dLse} = makeCotangents(c);
    const gradients = referenceGradients(c, inputs, dOutput.values, dLse.values);
    for (const name of Object.keys(gradients) as (keyof ReferenceGradients)[]) {
      const {values} = inputs[name]!;
      const direction = normalNumbers(values.length, 31);
      const slope = gradients[name]!.reduce((sum, g, n) => sum + g * direction[n], 0);
      const step = 1e-6;
      const at = (sign: number): number => {
        const moved = Float64Array.from(values, (x, n) => x + sign * step * direction[n]);
        return lossOf(c, {...inputs, [name]: {...inputs[name]!, values: moved}}, dOutput.values, dLse.values);
      };
      const measured = (at(1) - at(-1)) / (2 * step);
      expectClose(`slope along ${name}`, [slope], [measured], 1e-6 * Math.max(1, Math.abs(measured)));
    }
  });

  it('covers bias and sinks', () => {
    expect(cases.some(({options}) => options.bias)).toBe(true);
    expect(cases.some(({options}) => options.sinks)).toBe(true);
  });
});

function lossOf(c: AttentionCase, inputs: CaseInputs, dOutput: ArrayLike<number>, dLse: ArrayLike<number>): number {
  const {output, lse} = referenceAttention(c, inputs);
  const ofOutput = output.reduce((sum, x, n) => sum + x * dOutput[n], 0);
  return lse.reduce((sum, x, n) => (x === -Infinity ? sum : sum + x * dLse[n]), ofOutput);
}
