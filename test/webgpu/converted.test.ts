/**
 * The kernel on subgroup matrices where keys and values are converted once, before it: emulated as in halves.test.ts, on a device
 * with more bindings than tfjs asks for.
 */
import * as tf from '@tensorflow/tfjs-core';
import {bytesOf} from '../../kernels/tiling';
import type {MatrixChoice} from '../../kernels/matrix_tiling';
import {explain, flashAttention} from '../../src';
import {internalsOf, stateOf} from '../../src/backends/webgpu/device';
import {forceImplementation} from '../../src/register';
import {attentionCase, caseNamed} from '../cases';
import {expectSameBits} from '../closeness';
import {checkForward} from '../contract/run_case';
import {FULL_TABLE} from '../harness/full_table';
import {describeWith} from '../harness/node';
import {EIGHT, SIXTEEN, useMatrices, withPrecision} from './emulated_halves';
import type {HalfPrecision} from './emulated_halves';
import {useFullDevice} from './full_device';
import {watch} from './watch';
import {workgroupArrays} from './workgroup_arrays';

// Compiling for a processor takes seconds where loops are expanded.
jest.mock('../../kernels/webgpu/unroll', () => ({unroll: (source: string) => source}));

const FOUR_BY_16: MatrixChoice = {subgroups: 4, rows: 16, keys: 16, prefetch: true};
const TWO_BY_32: MatrixChoice = {subgroups: 2, rows: 32, keys: 32, prefetch: false};
const D = 16;
const state = () => stateOf(internalsOf(tf.backend()));
const normal = (rows: number, seed: number) => tf.randomNormal<tf.Rank.R2>([rows, D], 0, 1, 'float32', seed);

async function changed(x: tf.Tensor2D, row: number, values: number[]): Promise<tf.Tensor2D> {
  const numbers = ((await x.data()) as Float32Array).slice();
  numbers.set(values, row * D);
  return tf.tensor2d(numbers, [x.shape[0], D]);
}

async function attend(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, options: object): Promise<Float32Array> {
  const output = flashAttention(q, k, v, {precision: 'float16x2', ...options});
  const values = (await output.data()) as Float32Array;
  output.dispose();
  return values;
}

describeWith(['dawn'], 'webgpu-matrix with converted keys', () => {
  useFullDevice();
  beforeEach(() => {
    forceImplementation('webgpu-matrix');
    state().converts = true;
  });
  afterAll(() => {
    forceImplementation(null);
    delete state().converts;
  });

  const cases: Array<[name: string, precision: HalfPrecision, shape: typeof SIXTEEN, choice?: MatrixChoice]> = [
    ['everything at once', 'float16x2', EIGHT],
    ['113×203 causal', 'float16', SIXTEEN, TWO_BY_32],
  ];
  for (const [name, precision, shape, choice] of FULL_TABLE ? cases : []) {
    it(`${name}, ${precision}`, async () => {
      const c = caseNamed(name);
      useMatrices(c, precision, shape, choice);
      await checkForward(withPrecision(c, precision));
    });
  }

  it('rescales when maxima grow, from a window that begins inside a tile', async () => {
    const c = attentionCase('growing', {
      H: 2, Hkv: 1, Sq: 40, Sk: 90, D, options: {alibiSlopes: 'perHead', queryOffset: 1000, window: [975, -1]},
    }); // prettier-ignore
    useMatrices(c, 'float16', SIXTEEN, FOUR_BY_16);
    await checkForward(withPrecision(c, 'float16'));
  });

  // Compiles two kernels.
  if (FULL_TABLE) {
    it('gives the bits of the kernel that converts for itself', async () => {
      useMatrices({D, Dv: D}, 'float16x2', SIXTEEN, FOUR_BY_16);
      const [q, k, v] = [normal(70, 1), normal(75, 2), normal(75, 3)];
      const once = await attend(q, k, v, {causal: true});
      state().converts = false;
      expectSameBits('output', await attend(q, k, v, {causal: true}), once);
      tf.dispose([q, k, v]);
    });
  }

  it('lets no NaN or infinity through that no query of the tile sees, and every one that is seen', async () => {
    useMatrices({D, Dv: D}, 'float16x2', SIXTEEN, FOUR_BY_16);
    const [q, k, v] = [normal(20, 1), normal(64, 2), normal(64, 3)];
    // Keys 25 to 49 are seen, which begin and end inside tiles of 16.
    const seen = {window: [5, 0], queryOffset: 30, keyLengths: tf.tensor1d([52], 'int32')};
    const clean = await attend(q, k, v, seen);
    for (const poison of [NaN, Infinity]) {
      let [poisonedK, poisonedV] = [k, v];
      for (const row of [17, 24, 50, 60]) {
        poisonedK = await changed(poisonedK, row, [poison, -poison]);
        poisonedV = await changed(poisonedV, row, [poison, -poison]);
      }
      expectSameBits(`${poison} hidden`, await attend(q, poisonedK, poisonedV, seen), clean);
    }
    // Key 25 is seen by the first query alone, in the first channel of its value.
    const visible = await attend(q, k, await changed(v, 25, [NaN]), {...seen, window: [-1, 0]});
    expect(visible[0]).toBeNaN();
    expect(visible[1]).not.toBeNaN();
    tf.dispose([q, k, v, seen.keyLengths]);
  });

  it('computes in float32 with what float16 cannot hold', async () => {
    useMatrices({D, Dv: D}, 'float16x2', SIXTEEN, FOUR_BY_16);
    const [q, k, v] = [normal(20, 1), normal(40, 2), normal(40, 3)];
    const [largeK, largeV] = [await changed(k, 20, [3e5, -2e5]), await changed(v, 20, [7e4, 1e30])];
    const actual = await attend(q, largeK, largeV, {});
    forceImplementation('webgpu-plain');
    const expected = await attend(q, largeK, largeV, {});
    for (let n = 0; n < actual.length; n++) {
      expect(Math.abs(actual[n] - expected[n]) / Math.max(1, Math.abs(expected[n]))).toBeLessThan(2e-5);
    }
    tf.dispose([q, k, v, largeK, largeV]);
  });

  it('is explained as it is: kernels, arrays in workgroup memory, bytes', async () => {
    const [H, Hkv, Sq, Sk, Dv] = [4, 2, 70, 40, 24];
    useMatrices({D, Dv}, 'float16', SIXTEEN, FOUR_BY_16);
    const [q, k, v] = [tf.ones([1, H, Sq, D]), tf.ones([1, Hkv, Sk, D]), tf.ones([1, Hkv, Sk, Dv])];
    for (const {dataId} of [q, k, v]) internalsOf(tf.backend()).uploadToGPU(dataId);
    const said = explain(q, k, v, {precision: 'float16'});
    const seen = await watch(() => flashAttention(q, k, v, {precision: 'float16'}));
    const workgroups = Hkv * Math.ceil((Sq * (H / Hkv)) / said.tiles.queries);
    expect(seen.dispatches.filter(({kernel}) => kernel in seen.shaders)).toEqual([
      {kernel: 'convert', workgroups: Hkv * Math.ceil(Sk / said.tiles.keys)},
      {kernel: 'forwardMatrix', workgroups},
    ]);
    expect(bytesOf(said.onChip)).toBe(bytesOf(workgroupArrays(seen.shaders.forwardMatrix)));
    expect(said.memory.fused).toBe(seen.bufferBytes - 4 * H * Sq * (Dv + 2));
    tf.dispose([q, k, v]);
  });

  it('goes without on a device with no binding to spare, and where it does not pay', () => {
    useMatrices({D, Dv: D}, 'float16');
    const x = tf.ones<tf.Rank.R2>([40, D]);
    const bytes = () => explain(x, x, x, {precision: 'float16'}).memory.fused - partialBytes;
    const {splits} = explain(x, x, x, {precision: 'float16'}).tiles;
    const partialBytes = splits > 1 ? 4 * splits * 40 * (D + 2) : 0;
    expect(bytes()).toBeGreaterThan(0);
    const {storageBuffers} = state().matrices;
    state().matrices.storageBuffers = 8;
    expect(bytes()).toBe(0);
    state().matrices.storageBuffers = storageBuffers;
    delete state().converts;
    expect(bytes()).toBe(0);
    x.dispose();
  });
});
