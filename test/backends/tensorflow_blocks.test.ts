/** What the usual cases are too small for: tfjs-node's blocks, in the range where no maximum is taken off, and out of it. */
import * as tf from '@tensorflow/tfjs-core';
import {attentionProblem} from '../../kernels/problem';
import {explain, flashAttention, flashAttentionWithLse} from '../../src';
import {nodeImplementations} from '../../src/register_tensorflow';
import {attentionCase} from '../attention_case';
import {expectClose, expectSameBits} from '../closeness';
import {checkCase} from '../contract/run_case';
import {describeOn} from '../harness/node';
import {normalNumbers} from '../inputs';

const SHAPE = [1, 2, 200, 64];
const SIZE = 2 * 200 * 64;
const random = (seed: number, factor = 1): tf.Tensor => tf.tensor(normalNumbers(SIZE, seed, factor), SHAPE);

describeOn('tensorflow', 'blocks', () => {
  it.each([
    attentionCase('one block', {H: 2, Sq: 200, Sk: 180, D: 64, Dv: 48}),
    attentionCase('blocks of rows and of keys, grouped heads', {H: 2, Hkv: 1, Sq: 260, Sk: 520, D: 32, Dv: 40}),
    attentionCase('heads last', {H: 2, Sq: 190, Sk: 190, D: 64, layout: 'BSHD'}),
    attentionCase('scores beyond the range of plain exponentials', {H: 2, Sq: 190, Sk: 190, D: 64, qkFactor: 6}),
  ])('$name', async c => {
    const [q, k] = [tf.zeros([c.B, c.H, c.Sq, c.D]), tf.zeros([c.B, c.Hkv, c.Sk, c.D])];
    const v = tf.zeros([c.B, c.Hkv, c.Sk, c.Dv]);
    expect(explain(q, k, v).implementation).toBe('blocked');
    tf.dispose([q, k, v]);
    await checkCase(c);
  });

  it('values near the end of float32 do not overflow, nor do gradients so large', () => {
    const [q, k, v, weights] = [1, 2, 3, 4].map(seed => random(seed));
    for (const large of [1e18, 7e37]) {
      const sums = (factor: number): tf.Tensor[] => {
        const loss = (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) =>
          tf.sum(tf.mul(flashAttention(a, b, c), tf.mul(weights, factor)));
        return [flashAttentionWithLse(q, k, tf.mul(v, factor)).output, tf.grads(loss)([q, k, v])[2]];
      };
      tf.tidy(() => {
        const [plain, scaled] = [sums(1), sums(large)].map(list => list.map(x => x.dataSync() as Float32Array));
        plain.forEach((expected, n) => {
          const actual = Float64Array.from(scaled[n], x => x / large);
          expectClose(`result ${n} of values of ${large}`, actual, Float64Array.from(expected), 2e-5, SHAPE);
        });
      });
    }
    tf.dispose([q, k, v, weights]);
  });

  it('a NaN in q reaches its own row, forward and backward', () => {
    const numbers = normalNumbers(SIZE, 1);
    numbers[64 * 7 + 3] = NaN;
    const [q, k, v] = [tf.tensor(numbers, SHAPE), random(2), random(3)];
    const dq = tf.grad(x => flashAttention(x, k, v))(q);
    for (const x of [flashAttention(q, k, v), dq]) {
      const values = x.dataSync();
      const rows = new Set(Array.from(values.keys()).filter(n => Number.isNaN(values[n])).map(n => Math.floor(n / 64))); // prettier-ignore
      expect([...rows]).toEqual([7]);
      x.dispose();
    }
    tf.dispose([q, k, v, dq]);
  });

  it('dq is the same alone and beside dk and dv, where it takes no pass of its own', async () => {
    const [q, k, v] = [1, 2, 3].map(seed => random(seed));
    const alone = tf.grad((x: tf.Tensor) => flashAttention(x, k, v))(q);
    const before = tf.memory().numTensors;
    const profile = await tf.profile(() =>
      tf.grads((a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => flashAttention(a, b, c))([q, k, v]),
    );
    const [dq, dk, dv] = profile.result as unknown as tf.Tensor[];
    expect(profile.kernels.filter(({name}) => name === 'FlashAttentionGrad')).toHaveLength(1);
    expect(tf.memory().numTensors).toBe(before + 3);
    expectSameBits('dq', dq.dataSync(), alone.dataSync(), SHAPE);
    tf.dispose([q, k, v, alone, dq, dk, dv]);
  });

  it.each([
    ['q', [1]],
    ['k', [2]],
    ['v', [2]],
    ['qk', [3]],
    ['kv', [2]],
    ['qkv', [3]],
  ])('of the gradients for %s no other is computed', async (names, outputs) => {
    const tensors = {q: random(1), k: random(2), v: random(3)};
    const asked = Array.from(names) as Array<keyof typeof tensors>;
    const profile = await tf.profile(() =>
      tf.grads((...given: tf.Tensor[]) => {
        const {q, k, v} = {...tensors, ...Object.fromEntries(asked.map((name, n) => [name, given[n]]))};
        return flashAttention(q, k, v);
      })(asked.map(name => tensors[name])),
    );
    const kernels = profile.kernels.filter(({name}) => name === 'FlashAttentionGrad');
    expect(kernels.map(({outputShapes}) => outputShapes.length)).toEqual(outputs);
    tf.dispose([tensors, profile.result]);
  });

  it('on a GPU leaves every call to plain ops', () => {
    const spec = {shape: [1, 4, 512, 64], dtype: 'float32'};
    const problem = attentionProblem('attention', {q: spec, k: spec, v: spec}, {});
    const reasons = (isUsingGpuDevice: boolean) =>
      nodeImplementations.map(x =>
        x.unsupported(problem, Object.assign(Object.create(tf.backend()) as tf.KernelBackend, {isUsingGpuDevice})),
      );
    expect(reasons(true)).toEqual(Array(2).fill('TensorFlow computes on a GPU here'));
    expect(reasons(false)).toEqual([null, null]);
  });
});
