/**
 * The process's peak memory: what no count inside JavaScript sees, libtensorflow's buffers above all. Linux tells the peak
 * since it was last reset; elsewhere the suite is skipped.
 */
import * as tf from '@tensorflow/tfjs-core';
import {explain, flashAttention} from '../src';
import type {FlashAttentionOptions} from '../src';
import {describeOn} from './harness/node';
import type {NodeBackend} from './harness/node';
import {normalNumbers} from './inputs';
import {canTellPeak, peakRise} from './peak_memory';

const describeHere = canTellPeak() ? describe : describe.skip;

const N = 6144;
const D = 8;
/** What the chain holds at least once. */
const SQUARE_MB = (4 * N * N) / 2 ** 20;
/** Flash attention stays below it, the chain does not, whatever else the process frees meanwhile (36 MB seen). */
const LIMIT_MB = SQUARE_MB / 2;

/** Megabytes by which the process's resident memory rises, at most, while `work` runs. */
async function peakMB(work: () => tf.Tensor[]): Promise<number> {
  const bytes = await peakRise(async () => {
    const results = work();
    await results[0].data();
    tf.dispose(results);
  });
  return bytes / 2 ** 20;
}

describeHere('peak memory of the process', () => {
  describe.each<NodeBackend>(['cpu', 'wasm', 'tensorflow'])('%s', backend => {
    describeOn(backend, `one head of ${N} × ${N}, whose scores are ${SQUARE_MB} MB,`, () => {
      let [q, k, v]: tf.Tensor[] = [];

      beforeAll(() => {
        [q, k, v] = [1, 2, 3].map(seed => tf.tensor(normalNumbers(N * D, seed), [1, 1, N, D]));
        // Code is compiled and pools are filled before anything is measured.
        const few = tf.tensor(normalNumbers(64 * D, 1), [1, 1, 64, D]);
        const attend = (x: tf.Tensor): tf.Tensor => flashAttention(x, x, x, {causal: true});
        tf.dispose([attend(few), tf.grad(attend)(few), few]);
      });
      afterAll(() => tf.dispose([q, k, v]));

      it('forward stays far below', async () => {
        expect(await peakMB(() => [flashAttention(q, k, v, {causal: true})])).toBeLessThan(LIMIT_MB);
      });

      it('backward stays far below', async () => {
        const grads = tf.grads((x: tf.Tensor, y: tf.Tensor, z: tf.Tensor) => flashAttention(x, y, z, {causal: true}));
        expect(await peakMB(() => grads([q, k, v]))).toBeLessThan(LIMIT_MB);
      });

      it('the chain does not, so that the measure can tell', async () => {
        expect(await peakMB(() => [tf.tidy(() => tf.matMul(q, k, false, true))])).toBeGreaterThan(LIMIT_MB);
      });
    });
  });

  describeOn('tensorflow', `one head of ${N} × ${N} in TensorFlow's graph`, () => {
    const WIDTH = 32;

    it.each<[string, (dense: tf.Tensor) => FlashAttentionOptions]>([
      ['keyLengths', () => ({keyLengths: [N - 100]})],
      ['keyLengths 0: the second, careful way', () => ({keyLengths: [0]})],
      ['a dense mask', mask => ({mask})],
    ])('%s stays far below', async (_, optionsFor) => {
      const x = tf.randomNormal([1, 1, N, WIDTH]);
      const mask = tf.ones([N, N], 'bool');
      const attend = (): tf.Tensor => flashAttention(x, x, x, optionsFor(mask));
      expect(explain(x, x, x, optionsFor(mask)).implementation).toBe('blocked');
      tf.dispose(attend()); // pools are filled
      expect(await peakMB(() => [attend()])).toBeLessThan(LIMIT_MB);
      tf.dispose([x, mask]);
    });
  });
});
