/** What the backend promises beside numbers: pipelines compiled once, parts for small bindings, bit equality, a lost device. */
import * as tf from '@tensorflow/tfjs-core';
import {explain, flashAttention, flashAttentionWithLse} from '../../src';
import {internalsOf, stateOf} from '../../src/backends/webgpu/device';
import {forceImplementation} from '../../src/register';
import {createWebGPUBackend} from '../../src/webgpu';
import {matricesAgree} from '../../src/webgpu_matrices';
import {chain} from '../benchmark/chain';
import {expectClose, expectSameBits} from '../closeness';
import {deviceOf} from '../harness/error_scopes';
import {describeWith, useBackend, useDawn} from '../harness/node';

const random = (shape: [number, number, number, number], seed: number): tf.Tensor4D =>
  tf.randomNormal(shape, 0, 1, 'float32', seed);

describeWith(['dawn'], 'webgpu', () => {
  useBackend('webgpu');
  beforeAll(() => forceImplementation('webgpu'));
  afterAll(() => forceImplementation(null));
  const state = () => stateOf(internalsOf(tf.backend()));

  async function gradients(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, options = {}): Promise<Float32Array[]> {
    const all = tf.tidy(() => [
      flashAttention(q, k, v, options),
      ...tf.grads((a, b, c) => flashAttention(a as tf.Tensor4D, b as tf.Tensor4D, c as tf.Tensor4D, options).square())([
        q,
        k,
        v,
      ]),
    ]);
    const values = await Promise.all(all.map(t => t.data() as Promise<Float32Array>));
    tf.dispose(all);
    return values;
  }

  it('compiles nothing for another length, offset or seed', async () => {
    const [q, k] = [random([1, 2, 9, 8], 1), random([1, 2, 33, 8], 2)];
    const run = async (a: tf.Tensor4D, b: tf.Tensor4D, options: object) => {
      const output = flashAttention(a, b, b, options);
      await output.data();
      output.dispose();
    };
    await run(q, k, {causal: true, dropout: 0.1, seed: 1});
    const compiled = state().pipelines.size;
    const longer = random([2, 2, 21, 8], 3);
    await run(longer, longer, {causal: true, dropout: 0.3, seed: 2, queryOffset: 3, scale: 0.7});
    expect(state().pipelines.size).toBe(compiled);
    tf.dispose([q, k, longer]);
  });

  it('cuts what exceeds a binding into heads and batches, with the same bits', async () => {
    const options = {causal: true};
    const q = random([2, 4, 40, 8], 4);
    const [k, v] = [random([2, 2, 40, 8], 5), random([2, 2, 40, 8], 6)];
    const whole = await gradients(q, k, v, options);
    const limit = state().bindingLimit;
    try {
      for (const bytes of [2 * 4 * 40 * 8 * 4 - 4, 2 * 40 * 8 * 4 + 1024]) {
        state().bindingLimit = bytes;
        const parts = await gradients(q, k, v, options);
        parts.forEach((values, n) => expectSameBits(`tensor ${n} at ${bytes} bytes`, values, whole[n]));
      }
    } finally {
      state().bindingLimit = limit;
    }
    tf.dispose([q, k, v]);
  });

  it('gives the same bits 200 times, keys split, and gives every buffer back', async () => {
    const q = random([1, 1, 40, 8], 7);
    const k = random([1, 1, 600, 8], 8);
    const run = async () => {
      const {output, lse} = flashAttentionWithLse(q, k, k);
      const values = await Promise.all([output.data(), lse.data()]);
      tf.dispose([output, lse]);
      return values as Float32Array[];
    };
    const first = await run();
    await tf.nextFrame?.();
    const bytes = (tf.memory() as unknown as {numBytesInGPU: number}).numBytesInGPU;
    for (let n = 1; n < 200; n++) {
      const again = await run();
      again.forEach((values, i) => expectSameBits(`run ${n}`, values, first[i]));
    }
    expect((tf.memory() as unknown as {numBytesInGPU: number}).numBytesInGPU).toBe(bytes);
    tf.dispose([q, k]);
  });

  it('trusts half precision that agrees with float32, and no matrices that the device then refuses', async () => {
    const device = deviceOf(tf.backend());
    expect(await matricesAgree(device)).toBe(true);
    const {hasHalves, matrices} = state();
    // A device that tells of matrices and cannot compile them.
    Object.assign(state(), {hasHalves: true, matrices: {...matrices, shapes: [{M: 16, N: 16, K: 16}], subgroup: 32}});
    const before = tf.memory().numTensors;
    expect(await matricesAgree(device)).toBe(false);
    expect(tf.memory().numTensors).toBe(before);
    Object.assign(state(), {hasHalves, matrices});
    state().pipelines.clear();
  });

  it('keeps a NaN in lse, and through it in every gradient of the rows that see it', async () => {
    const [q, k, v] = [random([1, 2, 6, 8], 11), random([1, 2, 9, 8], 12), random([1, 2, 9, 8], 13)];
    const holed = tf.tidy(() => tf.where<tf.Tensor4D>(tf.range(0, k.size).reshape(k.shape).equal(3), NaN, k));
    const {output, lse} = flashAttentionWithLse(q, holed, v);
    const values = [await lse.data(), ...(await gradients(q, holed, v))];
    for (const [n, all] of values.entries()) {
      const half = all.length / 2;
      expect(`tensor ${n}: ${all.slice(0, half).every(Number.isNaN)}`).toBe(`tensor ${n}: true`);
      expect(`tensor ${n}: ${all.slice(half).every(Number.isFinite)}`).toBe(`tensor ${n}: true`);
    }
    tf.dispose([q, k, v, holed, output, lse]);
  });

  it('leaves rows that not one tile fits to composed, with the reason', async () => {
    forceImplementation(null);
    const [Sq, Sk, D] = [2, 3, 9000];
    const [q, k, v] = [random([1, 1, Sq, D], 1), random([1, 1, Sk, D], 2), random([1, 1, Sk, D], 3)];
    const {implementation, reasons} = explain(q, k, v);
    expect(implementation).toBe('composed');
    expect(reasons.find(({name}) => name === 'webgpu')!.reason).toMatch(/fits the device’s workgroup memory/);
    const warning = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    const [actual, expected] = tf.tidy(() => [flashAttention(q, k, v), chain(q, k, v)]);
    const values = (await Promise.all([actual.data(), expected.data()])) as Float32Array[];
    expectClose('output', values[0], Float64Array.from(values[1]), 1e-5, [Sq, D]);
    expect(warning.mock.calls.join()).toContain('workgroup memory');
    warning.mockRestore();
    tf.dispose([q, k, v, actual, expected]);
    forceImplementation('webgpu');
  });

  it('tells of its kernels to tf.time and tf.profile', async () => {
    const q = random([1, 1, 8, 8], 9);
    const profile = await tf.profile(() => flashAttention(q, q, q));
    expect(profile.kernelNames).toContain('FlashAttention');
    const {kernelMs} = (await tf.time(() => flashAttention(q, q, q).dispose())) as {kernelMs: number};
    expect(kernelMs).toBeGreaterThan(0);
    tf.dispose([q, profile.result]);
  });
});

describeWith(['dawn'], 'a lost device', () => {
  it('ends the next call with one clear error, and a new backend works', async () => {
    await import('@tensorflow/tfjs');
    const gpu = await useDawn();
    const device = await createWebGPUBackend({gpu});
    forceImplementation('webgpu');
    const q = random([1, 1, 4, 4], 10);
    flashAttention(q, q, q).dispose();
    device.destroy();
    await device.lost;
    expect(() => flashAttention(q, q, q)).toThrow(/WebGPU device was lost .*make a new backend/);
    await createWebGPUBackend({gpu});
    const again = random([1, 1, 4, 4], 10);
    const output = flashAttention(again, again, again);
    expect((await output.data()).every(Number.isFinite)).toBe(true);
    tf.dispose([again, output]);
    forceImplementation(null);
  });
});
