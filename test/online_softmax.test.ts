/** The five steps from naive softmax to one-pass attention: they agree, and each moves what its docstring says. */
import * as tf from '@tensorflow/tfjs-core';
import {CountedMemory} from '../kernels/cpu/counted_memory';
import {
  naiveSoftmax, NOTHING_SEEN, onePassAttention, onlineSoftmaxRows, onlineStep, safeSoftmax, threePassSoftmax,
  twoPassSoftmax, vectorOf,
} from '../kernels/cpu/online_softmax'; // prettier-ignore
import {useBackend} from './harness/node';
import {normalNumbers} from './inputs';

const N = 37;
const D = 5;
const Dv = 3;

useBackend('cpu');

const normal = (length: number, deviation: number, seed: number): Float32Array =>
  normalNumbers(length, seed, deviation);

/** The definition, in float64. */
function softmaxReference(x: ArrayLike<number>): number[] {
  const max = Math.max(...Array.from(x));
  const exponentials = Array.from(x, value => Math.exp(value - max));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map(value => value / sum);
}

/** NaN equals NaN only. */
function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    if (Number.isNaN(expected[i])) expect(actual[i]).toBeNaN();
    else expect(Math.abs(actual[i] - expected[i])).toBeLessThanOrEqual(tolerance);
  }
}

const softmaxes = [
  {
    softmax: naiveSoftmax,
    passes: ['sum', 'normalise'],
    reads: 2 * N,
    writes: N,
  },
  {
    softmax: safeSoftmax,
    passes: ['max', 'subtract', 'exp', 'sum', 'divide'],
    reads: 5 * N,
    writes: 3 * N,
  },
  {
    softmax: threePassSoftmax,
    passes: ['max', 'sum', 'normalise'],
    reads: 3 * N,
    writes: N,
  },
  {
    softmax: twoPassSoftmax,
    passes: ['max and sum', 'normalise'],
    reads: 2 * N,
    writes: N,
  },
];

describe.each(softmaxes)('$softmax.name', ({softmax, passes, reads, writes}) => {
  it('agrees with the definition on moderate logits', () => {
    const x = normal(N, 3, 1);
    const y = new Float32Array(N);
    softmax(vectorOf(x), vectorOf(y));
    expectClose(y, softmaxReference(x), 1e-6);
  });

  it('takes the passes, reads and writes it says', () => {
    const memory = new CountedMemory();
    softmax(memory.vector(normal(N, 3, 1)), memory.vector(new Float32Array(N)), memory.beginPass);
    expect({
      passes: memory.passes,
      reads: memory.reads,
      writes: memory.writes,
    }).toEqual({passes, reads, writes});
  });

  it(softmax === naiveSoftmax ? 'overflows on logits above 88.7' : 'stays right on logits of 1000', () => {
    const x = normal(N, 3, 1).map(value => value + 1000);
    const y = new Float32Array(N);
    softmax(vectorOf(x), vectorOf(y));
    expectClose(y, softmax === naiveSoftmax ? new Float32Array(N).fill(NaN) : softmaxReference(x), 1e-6);
  });
});

describe('onePassAttention', () => {
  const q = normal(D, 2, 2);
  const keys = normal(N * D, 2, 3);
  const values = normal(N * Dv, 1, 4);
  const scores = Array.from({length: N}, (_, j) => q.reduce((dot, value, d) => dot + value * keys[j * D + d], 0));
  const p = softmaxReference(scores);
  const expected = Array.from({length: Dv}, (_, c) => p.reduce((sum, pj, j) => sum + pj * values[j * Dv + c], 0));

  it.each([1, 2, 8, N, 100])('agrees with softmax(q·keysᵀ)·values with tiles of %i', tile => {
    const memory = new CountedMemory();
    const output = new Float32Array(Dv);
    const row = {
      q: memory.vector(q),
      keys: memory.vector(keys),
      values: memory.vector(values),
    };
    onePassAttention({...row, output: memory.vector(output)}, tile, memory.beginPass);
    expectClose(output, expected, 2e-6);
    expect(memory.passes).toHaveLength(1);
    expect({reads: memory.reads, writes: memory.writes}).toEqual({
      reads: D + N * (D + Dv),
      writes: Dv,
    });
  });

  it('ignores a key of score −Infinity, first or last, and shows NaN', () => {
    const attend = (keyValues: number[], tile: number): number => {
      const output = new Float32Array(1);
      const row = {
        q: vectorOf([1]),
        keys: vectorOf(keyValues),
        values: vectorOf([1, 2, 3]),
      };
      onePassAttention({...row, output: vectorOf(output)}, tile);
      return output[0];
    };
    for (const tile of [1, 3]) {
      expect(attend([-Infinity, 0, 0], tile)).toBe(2.5);
      expect(attend([0, 0, -Infinity], tile)).toBe(1.5);
      expect(attend([0, NaN, 0], tile)).toBeNaN();
    }
  });
});

describe('onlineStep', () => {
  it('holds the maximum and the sum of every prefix', () => {
    let state = {...NOTHING_SEEN};
    const x = [1, 3, 2, 5];
    x.forEach((value, i) => {
      const before = state;
      const step = onlineStep(state, value);
      const prefix = x.slice(0, i + 1);
      expect(step.rowMax).toBe(Math.max(...prefix));
      expect(step.rowSum).toBeCloseTo(
        prefix.reduce((sum, each) => sum + Math.exp(each - step.rowMax), 0),
        6,
      );
      expect(step.rescale).toBeCloseTo(Math.exp(before.rowMax - step.rowMax), 6);
      state = step;
    });
  });
});

describe('CountedMemory', () => {
  it('refuses a second read of an element within a pass', () => {
    const memory = new CountedMemory();
    const x = memory.vector(new Float32Array(2));
    expect(() => x.read(0)).toThrow('before the first pass');
    memory.beginPass('first');
    x.read(0);
    expect(() => x.read(0)).toThrow(`read twice in pass 'first'`);
    memory.beginPass('second');
    expect(x.read(0)).toBe(0);
  });
});

describe('onlineSoftmaxRows', () => {
  it('is the softmax of each row', () => {
    const x = normal(4 * N, 30, 5);
    const y = onlineSoftmaxRows(x, 4, N);
    for (let row = 0; row < 4; row++) {
      const range = [row * N, (row + 1) * N] as const;
      expectClose(y.slice(...range), softmaxReference(x.slice(...range)), 1e-7);
    }
  });

  it.each([
    ['−Infinity first', [-Infinity, 0, 1]],
    ['−Infinity last', [0, 1, -Infinity]],
    ['−Infinity only', [-Infinity, -Infinity]],
    ['NaN first', [NaN, 0, 1]],
    ['NaN last', [0, 1, NaN]],
    ['NaN after −Infinity', [-Infinity, NaN]],
    ['+Infinity first', [Infinity, 0, 1]],
    ['+Infinity last', [0, 1, Infinity]],
    ['+Infinity twice', [Infinity, Infinity, 0]],
    ['both infinities', [Infinity, -Infinity]],
    ['the range of float32', [3.4e38, -3.4e38, 3.4e38]],
    ['one class', [-5]],
  ])('agrees with tf.softmax on %s', (_, row) => {
    const expected = tf.tidy(() => tf.softmax(tf.tensor1d(row)).dataSync());
    expectClose(onlineSoftmaxRows(Float32Array.from(row), 1, row.length), expected, 1e-7);
  });

  it('takes no rows and no classes', () => {
    expect(onlineSoftmaxRows(new Float32Array(0), 0, 3)).toHaveLength(0);
    expect(onlineSoftmaxRows(new Float32Array(0), 3, 0)).toHaveLength(0);
  });
});
