/** onlineSoftmax: tf.softmax's semantics over any axis, with gradient. */
import * as tf from '@tensorflow/tfjs-core';
import {onlineSoftmax} from '../../src';
import type {Selection} from '../cases';
import {allowance, expectClose, magnitude} from '../closeness';
import {normalNumbers, sizeOf} from '../inputs';
import {referenceSoftmax} from '../reference';
import {check, messageOf} from './contract_test';
import type {ContractTest} from './contract_test';
import {total} from './run';

type Edit = (values: Float32Array) => void;

/** Shape, axis, what is changed in the standard normal logits. */
const CASES: [string, number[], number, Edit?][] = [
  ['one element', [1], 0],
  ['7 elements', [7], -1],
  ['rows of 1', [5, 1], -1],
  ['rows of 65', [3, 65], -1],
  ['rows of 1030', [2, 1030], 1],
  ['many short rows', [1030, 3], 1],
  ['first axis', [9, 4], 0],
  ['middle axis', [2, 17, 5], 1],
  ['negative axis', [2, 17, 5], -3],
  ['rank 4, axis 2', [2, 3, 33, 4], 2],
  ['rank 5', [1, 2, 3, 4, 5], 3],
  ['no rows', [0, 4], -1],
  ['no columns', [3, 0], -1],
  ['large logits', [3, 40], -1, values => values.forEach((x, n) => (values[n] = 1e4 * x))],
  ['logits near float32’s range', [2, 9], -1, values => values.forEach((x, n) => (values[n] = 1e38 * x))],
  ['ascending: the maximum comes last', [2, 70], -1, values => values.forEach((_, n) => (values[n] = n % 70))],
  ['some −∞', [4, 20], -1, values => values.forEach((_, n) => n % 3 === 0 && (values[n] = -Infinity))],
  ['−∞ first', [2, 70], -1, values => values.forEach((_, n) => n % 70 < 66 && (values[n] = -Infinity))],
  ['float32’s lowest everywhere', [2, 20], -1, values => void values.fill(-3.4028234663852886e38)],
];

/** Rows whose softmax is NaN by definition. */
const NOT_NUMBERS: [string, Edit][] = [
  ['a row of −∞', values => void values.fill(-Infinity, 20, 40)],
  ['a NaN in a row', values => (values[33] = NaN)],
  ['a NaN first', values => (values[20] = NaN)],
  ['a +∞ in a row', values => (values[39] = Infinity)],
];

function matches([name, shape, axis, edit]: (typeof CASES)[number]): ContractTest {
  return {
    name: `onlineSoftmax: ${name}`,
    run: async () => {
      const values = normalNumbers(sizeOf(shape), shape.length * 7 + 1);
      edit?.(values);
      const dy = normalNumbers(sizeOf(shape), 5);
      const [logits, weights] = [tf.tensor(values.slice(), shape), tf.tensor(dy.slice(), shape)];
      const results = [
        softmaxAndGradient(logits, weights, axis, onlineSoftmax),
        softmaxAndGradient(logits, weights, axis, chainSoftmax),
      ];
      const read = await Promise.all(results.flat().map(x => x.data()));
      const sameShape = `${results[0][0].shape}` === `${shape}`;
      tf.dispose([logits, weights, results]);
      check(sameShape, `${name}: the result has another shape than the logits`);

      const [output, gradient, chainOutput, chainGradient] = read;
      const expected = alongAxis(shape, axis, values, (row, n) => referenceSoftmax(row, n));
      expectClose(`${name}: output`, output, expected, allowance('output', chainOutput, expected), shape);
      const expectedGradient = gradientOf(shape, axis, expected, dy);
      const allowed = allowance('gradient', chainGradient, expectedGradient);
      expectClose(`${name}: gradient`, gradient, expectedGradient, allowed, shape);
    },
  };
}

type Softmax = (logits: tf.Tensor, axis: number) => tf.Tensor;

function softmaxAndGradient(
  logits: tf.Tensor,
  weights: tf.Tensor,
  axis: number,
  softmax: Softmax,
): [tf.Tensor, tf.Tensor] {
  return [softmax(logits, axis), tf.grad(x => total(tf.mul(softmax(x, axis), weights)))(logits)];
}

/** From plain ops, over any axis, which tf.softmax does not take. */
function chainSoftmax(logits: tf.Tensor, axis: number): tf.Tensor {
  if (logits.size === 0) return tf.clone(logits);
  return tf.tidy(() => {
    const last = logits.rank - 1;
    const at = (axis + logits.rank) % logits.rank;
    const swap = logits.shape.map((_, n) => (n === at ? last : n === last ? at : n));
    return tf.transpose(tf.softmax(tf.transpose(logits, swap)), swap);
  });
}

function gradientOf(shape: number[], axis: number, softmax: Float64Array, dy: Float32Array): Float64Array {
  const weighted = alongAxis(
    shape,
    axis,
    softmax.map((p, n) => p * dy[n]),
    row => row.map(() => row.reduce((a, b) => a + b, 0)),
  );
  return softmax.map((p, n) => p * (dy[n] - weighted[n]));
}

/** Applies f to every line of the array along one axis. */
function alongAxis(
  shape: number[],
  axis: number,
  values: ArrayLike<number>,
  f: (row: number[], n: number) => ArrayLike<number>,
): Float64Array {
  const at = (axis + shape.length) % shape.length;
  const n = shape[at];
  const step = sizeOf(shape.slice(at + 1));
  const result = new Float64Array(values.length);
  for (let start = 0; start < values.length; start++) {
    if (Math.floor(start / step) % n !== 0) continue;
    const row = Array.from({length: n}, (_, j) => values[start + j * step]);
    Array.from(f(row, n)).forEach((x, j) => (result[start + j * step] = x));
  }
  return result;
}

function notNumbers([name, edit]: (typeof NOT_NUMBERS)[number]): ContractTest {
  return {
    name: `onlineSoftmax: ${name} gives NaN there, as tf.softmax does`,
    run: async () => {
      const values = normalNumbers(60, 3);
      edit(values);
      const logits = tf.tensor(values.slice(), [3, 20]);
      const output = onlineSoftmax(logits);
      const read = await output.data();
      tf.dispose([logits, output]);
      const expected = referenceSoftmax(values, 20);
      check(Number.isNaN(expected[33]) && !Number.isNaN(expected[0]), `${name}: the reference has NaN elsewhere`);
      expectClose(name, read, expected, 4e-6 * magnitude([1]), [3, 20]);
    },
  };
}

const complaints: ContractTest = {
  name: 'onlineSoftmax: errors',
  run: async () => {
    const logits = tf.zeros([2, 3]);
    const ints = tf.zeros([2, 3], 'int32');
    const wrong: [string, string, () => unknown][] = [
      ['axis', '[-2, 2)', () => onlineSoftmax(logits, 2)],
      ['axis', '-3', () => onlineSoftmax(logits, -3)],
      ['axis', '0.5', () => onlineSoftmax(logits, 0.5)],
      ['logits', 'rank 1', () => onlineSoftmax(3)],
      ['logits', 'int32', () => onlineSoftmax(ints)],
    ];
    const before = tf.memory().numTensors;
    for (const [argument, fragment, work] of wrong) {
      const message = messageOf(work);
      const start = `Argument '${argument}' passed to 'onlineSoftmax' must `;
      check(
        message.startsWith(start) && message.includes(', but got '),
        `'${message}' does not say '${start}…, but got …'`,
      );
      check(message.includes(fragment), `'${message}' does not name ${fragment}`);
    }
    check(tf.memory().numTensors === before, 'an error leaves tensors behind');
    tf.dispose([logits, ints]);
  },
};

export function softmaxTests(selection: Selection): ContractTest[] {
  const step = {all: 1, core: 2, sample: 4, glance: 8}[selection];
  const cases = CASES.filter((_, n) => n % step === 0);
  return [...cases.map(matches), ...NOT_NUMBERS.map(notNumbers), complaints];
}
