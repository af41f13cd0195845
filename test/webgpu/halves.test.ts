/**
 * The half-precision kernels run for real, with float16 and subgroup matrices in plain loops (emulated_halves.ts): their tiles,
 * barriers, masks and merges are held to the float64 reference. The software device compiles slowly: a few cases, or with
 * `--full` the whole table.
 */
import * as tf from '@tensorflow/tfjs-core';
import {explain, flashAttention} from '../../src';
import {internalsOf, stateOf} from '../../src/backends/webgpu/device';
import {forceImplementation} from '../../src/register';
import type {MatrixChoice} from '../../kernels/matrix_tiling';
import {attentionCase, caseNamed, CASES} from '../cases';
import type {AttentionCase} from '../cases';
import {expectSameBits} from '../closeness';
import {checkForward} from '../contract/run_case';
import {deviceOf} from '../harness/error_scopes';
import {describeWith, useBackend} from '../harness/node';
import {emulateHalves} from './emulated_halves';

// Compiling for a processor takes seconds where loops are expanded.
jest.mock('../../kernels/webgpu/unroll', () => ({unroll: (source: string) => source}));

type Precision = 'float16' | 'float16x2';
const SIXTEEN = {M: 16, N: 16, K: 16};
const EIGHT = {M: 8, N: 8, K: 8};
const state = () => stateOf(internalsOf(tf.backend()));

/** What the emulated kernel needs beside its own memory fits the device. */
const STORAGE = 12500;

function useMatrices(shape = SIXTEEN, subgroup = 32, choice?: MatrixChoice): void {
  emulateHalves(deviceOf(tf.backend()), state(), shape, subgroup);
  state().matrices.storage = STORAGE;
  state().matrixChoice = choice;
}

const withPrecision = (c: AttentionCase, precision: Precision): AttentionCase => ({
  ...c,
  name: `${c.name} in ${precision}`,
  options: {...c.options, precision},
});

const FOUR_BY_16: MatrixChoice = {subgroups: 4, rows: 16, keys: 16, prefetch: true};
const TWO_BY_32: MatrixChoice = {subgroups: 2, rows: 32, keys: 32, prefetch: false};

/** Every option, width and number of tiles once, over both precisions and shapes of matrices. */
const SELECTED: Array<[name: string, precision: Precision, shape?: typeof SIXTEEN, choice?: MatrixChoice]> = [
  ['precision float16', 'float16'],
  ['113×203 causal', 'float16', SIXTEEN, TWO_BY_32],
  ['everything at once', 'float16', EIGHT],
  ['dropout over tiles', 'float16'],
  ['width 59, values 40', 'float16', EIGHT],
  ['128×217 causal, grouped', 'float16x2', SIXTEEN, FOUR_BY_16],
  ['BSHD, grouped, causal, 65×70', 'float16x2', EIGHT],
  ['bias [2,1,65,70] over tiles', 'float16x2'],
  ['dropout × sinks × mask', 'float16x2'],
  ['more keys than a block', 'float16x2'],
];

describeWith(['dawn'], 'webgpu-matrix', () => {
  useBackend('webgpu');
  beforeAll(() => forceImplementation('webgpu-matrix'));
  afterAll(() => forceImplementation(null));

  if (process.env.FULL_TABLE === '1') {
    for (const c of CASES.filter(({B, Sq, Sk}) => B * Sq * Sk > 0)) {
      for (const precision of ['float16', 'float16x2'] as const) {
        if (precision === 'float16' && c.qkFactor !== 1) continue;
        it(`${c.name}, ${precision}`, async () => {
          useMatrices();
          if (Math.max(c.D, c.Dv) <= 64) await checkForward(withPrecision(c, precision));
        });
      }
    }
  } else {
    for (const [name, precision, shape, choice] of SELECTED) {
      it(`${name}, ${precision}`, async () => {
        useMatrices(shape, 32, choice);
        await checkForward(withPrecision(caseNamed(name), precision));
      });
    }
  }

  it('rescales when maxima grow from tile to tile, by lanes that share rows', async () => {
    for (const precision of ['float16', 'float16x2'] as const) {
      useMatrices(SIXTEEN, 32, FOUR_BY_16);
      const c = attentionCase('growing', {H: 1, Sq: 40, Sk: 90, D: 16, options: {alibiSlopes: 'perHead'}});
      await checkForward(withPrecision({...c, options: {...c.options, queryOffset: 1000}}, precision));
    }
  });

  it('computes in float32 with what float16 cannot hold, and leaves the other rows’ bits alone', async () => {
    useMatrices(SIXTEEN, 32, FOUR_BY_16);
    const [Sq, Sk, D] = [20, 40, 16];
    const normal = (rows: number, seed: number) => tf.randomNormal<tf.Rank.R2>([rows, D], 0, 1, 'float32', seed);
    const [q, k, v] = [normal(Sq, 1), normal(Sk, 2), normal(Sk, 3)];
    const mask = tf.tidy(() => tf.greater(tf.range(0, Sq).reshape([Sq, 1]), tf.equal(tf.range(0, Sk), 20).mul(9)));
    const large = async (x: tf.Tensor2D, row: number, values: number[]) => {
      const numbers = (await x.data()).slice();
      values.forEach((value, n) => (numbers[row * D + n] = value));
      return tf.tensor2d(numbers as Float32Array, [x.shape[0], D]);
    };
    // Key 20 is hidden from rows 0 to 9, which must not notice it; rows 10 to 19 see it.
    const [largeK, largeV] = [await large(k, 20, [3e5, -2e5]), await large(v, 20, [7e4, 1e30])];
    const largeQ = await large(q, 12, [1e5]);
    for (const precision of ['float16', 'float16x2'] as const) {
      const run = async (...[a, b, c]: tf.Tensor2D[]) => {
        const output = flashAttention(a, b, c, {mask, precision});
        const values = (await output.data()) as Float32Array;
        output.dispose();
        return values;
      };
      const plain = await run(q, k, v);
      const extreme = await run(largeQ, largeK, largeV);
      expectSameBits('rows that see none of it', extreme.slice(0, 10 * D), plain.slice(0, 10 * D));
      forceImplementation('webgpu-plain');
      const expected = flashAttention(largeQ, largeK, largeV, {mask, precision: 'float32'});
      const float32 = (await expected.data()) as Float32Array;
      expected.dispose();
      forceImplementation('webgpu-matrix');
      for (let n = 10 * D; n < Sq * D; n++) {
        const size = Math.max(1, Math.abs(float32[n]));
        expect(Math.abs(extreme[n] - float32[n]) / size).toBeLessThan(precision === 'float16' ? 4e-3 : 2e-5);
      }
    }
    tf.dispose([q, k, v, mask, largeK, largeV, largeQ]);
  });

  it('is what the backend prefers where the precision permits it, and explains why where not', () => {
    useMatrices();
    forceImplementation(null);
    const x = tf.zeros<tf.Rank.R2>([40, 16]);
    const {tiles, implementation} = explain(x, x, x, {precision: 'float16x2'});
    expect(implementation).toBe('webgpu');
    expect(tiles).toMatchObject({matrixM: 16, matrixN: 16, matrixK: 16});
    state().matrices.shapes = [];
    expect(explain(x, x, x, {precision: 'float16x2'}).reasons).toContainEqual({
      name: 'webgpu-matrix',
      reason: 'the device offers no subgroup matrices of float16 with float32 sums',
    });
    expect(explain(x, x, x).reasons).toContainEqual({name: 'webgpu-half', reason: `'precision' is 'float32'`});
    x.dispose();
    forceImplementation('webgpu-matrix');
  });
});

describeWith(['dawn'], 'webgpu-half', () => {
  useBackend('webgpu');
  beforeAll(() => {
    emulateHalves(deviceOf(tf.backend()), state(), SIXTEEN, 32);
    forceImplementation('webgpu-half');
  });
  afterAll(() => forceImplementation(null));

  for (const name of ['precision float16', '128×217 causal, grouped', 'everything at once', 'width 59, values 40']) {
    it(name, () => checkForward(withPrecision(caseNamed(name), 'float16')));
  }
});
