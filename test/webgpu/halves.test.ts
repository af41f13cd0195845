/**
 * The half-precision kernels run for real, with float16 and subgroup matrices in plain loops (emulated_halves.ts): their tiles,
 * barriers, masks and merges are held to the float64 reference. The software device compiles slowly: a few cases, or with
 * `--full` the whole table.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {MatrixChoice} from '../../kernels/matrix_tiling';
import {explain, flashAttention} from '../../src';
import {internalsOf, stateOf} from '../../src/backends/webgpu/device';
import {forceImplementation} from '../../src/register';
import {attentionCase, caseNamed, CASES} from '../cases';
import {expectSameBits} from '../closeness';
import {checkCase, checkForward} from '../contract/run_case';
import {deviceOf} from '../harness/error_scopes';
import {FULL_TABLE} from '../harness/full_table';
import {describeWith, useBackend} from '../harness/node';
import {EIGHT, SIXTEEN, emulateHalves, useMatrices, withPrecision} from './emulated_halves';
import type {HalfPrecision as Precision} from './emulated_halves';
import {holdToDispatches} from './hold_to_dispatches';

// Compiling for a processor takes seconds where loops are expanded.
jest.mock('../../kernels/webgpu/unroll', () => ({unroll: (source: string) => source}));

const state = () => stateOf(internalsOf(tf.backend()));

const FOUR_BY_16: MatrixChoice = {subgroups: 4, rows: 16, keys: 16, prefetch: true};
const TWO_BY_32: MatrixChoice = {subgroups: 2, rows: 32, keys: 32, prefetch: false};

/** Both precisions and shapes of matrices; every option, GQA, odd sizes and widths, split keys, several tiles. */
const SELECTED: Array<[name: string, precision: Precision, shape?: typeof SIXTEEN, choice?: MatrixChoice]> = [
  ['everything at once', 'float16x2', EIGHT],
];

/** Of the whole table: what can be emulated, and what float16's own rounding leaves defined. */
const FULL: Array<[name: string, precision: Precision]> = CASES.filter(
  ({B, Sq, Sk, D, Dv}) => B * Sq * Sk > 0 && Math.max(D, Dv) <= 40,
).flatMap(({name, qkFactor}) => [
  ...(qkFactor === 1 ? [[name, 'float16'] as [string, Precision]] : []),
  [name, 'float16x2'] as [string, Precision],
]);

describeWith(['dawn'], 'webgpu-matrix', () => {
  useBackend('webgpu');
  beforeAll(() => forceImplementation('webgpu-matrix'));
  afterAll(() => forceImplementation(null));

  for (const [name, precision, shape, choice] of FULL_TABLE ? [...SELECTED, ...FULL] : SELECTED) {
    it(`${name}, ${precision}`, async () => {
      const c = caseNamed(name);
      useMatrices(c, precision, shape, choice);
      await checkForward(withPrecision(c, precision));
    });
  }

  it('rescales when maxima grow from tile to tile, by lanes that share rows', async () => {
    const c = attentionCase('growing', {
      H: 1, Sq: 40, Sk: 90, D: 16, options: {alibiSlopes: 'perHead', queryOffset: 1000},
    }); // prettier-ignore
    useMatrices(c, 'float16', SIXTEEN, FOUR_BY_16);
    await checkForward(withPrecision(c, 'float16'));
  });

  it('computes in float32 with what float16 cannot hold, and leaves the other rows’ bits alone', async () => {
    const [Sq, Sk, D] = [20, 40, 16];
    useMatrices({D, Dv: D}, 'float16x2', SIXTEEN, FOUR_BY_16);
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
    const run = async (...[a, b, c]: tf.Tensor2D[]) => {
      const output = flashAttention(a, b, c, {mask, precision: 'float16x2'});
      const values = (await output.data()) as Float32Array;
      output.dispose();
      return values;
    };
    const plain = await run(q, k, v);
    const extreme = await run(largeQ, largeK, largeV);
    expectSameBits('rows that see none of it', extreme.slice(0, 10 * D), plain.slice(0, 10 * D));
    forceImplementation('webgpu-plain');
    const expected = await run(largeQ, largeK, largeV);
    forceImplementation('webgpu-matrix');
    for (let n = 10 * D; n < Sq * D; n++) {
      expect(Math.abs(extreme[n] - expected[n]) / Math.max(1, Math.abs(expected[n]))).toBeLessThan(2e-5);
    }
    tf.dispose([q, k, v, mask, largeK, largeV, largeQ]);
  });

  it('is float32 under a gradient, where pairs of float16 were permitted', async () => {
    const [q, k] = [1, 2].map(seed => tf.randomNormal<tf.Rank.R2>([20, 16], 0, 1, 'float32', seed));
    useMatrices({D: 16, Dv: 16}, 'float16x2');
    forceImplementation(null);
    const outputs: tf.Tensor[] = [];
    const recorded = (x: tf.Tensor) => {
      const output = flashAttention(x, k, k, {precision: 'float16x2'});
      outputs.push(tf.keep(output.clone()));
      return output;
    };
    tf.grad(recorded)(q).dispose();
    outputs.push(flashAttention(q, k, k), flashAttention(q, k, k, {precision: 'float16x2'}));
    const [taped, float32, pairs] = (await Promise.all(outputs.map(x => x.data()))) as Float32Array[];
    expectSameBits('output', taped, float32);
    expect(pairs).not.toEqual(float32);
    tf.dispose([q, k, outputs]);
    forceImplementation('webgpu-matrix');
  });

  it('gives finite gradients where scores are so great that backward adds them up otherwise than forward', async () => {
    const c = caseNamed('q and k around 1e4');
    useMatrices(c, 'float16', SIXTEEN);
    await checkCase(withPrecision(c, 'float16'));
  });

  it('is what the backend prefers where the precision permits it, and explains why where not', () => {
    useMatrices({D: 16, Dv: 16}, 'float16x2');
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

  it('is compiled, dispatched and given memory as explain says', async () => {
    useMatrices({D: 8, Dv: 24}, 'float16', SIXTEEN, TWO_BY_32);
    forceImplementation(null);
    await holdToDispatches('webgpu-matrix', {H: 4, Hkv: 2, Sq: 70, Sk: 40, D: 8, Dv: 24}, {precision: 'float16'});
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

  const wide = FULL_TABLE ? ['precision float16'] : [];
  for (const name of [...wide, 'everything at once', 'width 59, values 40']) {
    it(name, () => checkForward(withPrecision(caseNamed(name), 'float16')));
  }

  it('is compiled, dispatched and given memory as explain says', async () => {
    state().matrices.shapes = [];
    forceImplementation(null);
    await holdToDispatches('webgpu-half', {H: 4, Hkv: 2, Sq: 70, Sk: 300, D: 8, Dv: 24}, {precision: 'float16'});
    forceImplementation('webgpu-half');
  });

  it('gives gradients of what it read: what cancels in float64 cancels', () =>
    checkCase(
      attentionCase('one key', {
        B: 3, H: 9, Hkv: 3, Sq: 16, Sk: 1, D: 6, Dv: 80,
        options: {dropout: 0.5, seed: 82656690, precision: 'float16', bias: {shape: [1, 1], fill: 'some rows −Infinity'}},
      }),
    )); // prettier-ignore
});
