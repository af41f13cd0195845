/** The pool: the same bits for any number of threads, and what happens when a worker dies. */
import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {build} from 'esbuild';
import {VARIANTS, runsVariant} from '../../kernels/wasm/module';
import {sharedPool} from '../../kernels/wasm/pool';
import {THREADED_FROM_FLAG, THREADS_FLAG} from '../../src/backends/wasm_settings';
import {flashAttention} from '../../src';
import type {FlashAttentionOptions} from '../../src';
import {useBackend} from '../harness/node';
import {expectSameBits} from '../closeness';

/** What calls run on: another test file may have switched relaxed SIMD on in this process. */
const VARIANT = VARIANTS.find(runsVariant)!;

const random = (shape: number[], seed: number): tf.Tensor => tf.randomNormal(shape, 0, 1, 'float32', seed);

/** Output and gradients of one call on so many threads. */
function run(threads: number, shapes: {q: number[]; k: number[]}, options: FlashAttentionOptions): Float32Array[] {
  tf.env().set(THREADS_FLAG, threads);
  return tf.tidy(() => {
    const [q, k, v] = [random(shapes.q, 1), random(shapes.k, 2), random(shapes.k, 3)];
    const dOutput = random(shapes.q, 4);
    const output = flashAttention(q, k, v, options);
    const loss = (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) =>
      tf.sum(tf.mul(flashAttention(a, b, c, options), dOutput));
    return [output, ...tf.grads(loss)([q, k, v])].map(x => x.dataSync() as Float32Array);
  });
}

describe('threads', () => {
  useBackend('cpu');
  beforeAll(() => tf.env().set(THREADED_FROM_FLAG, 0));
  afterAll(() => tf.env().reset());

  it.each<[string, {q: number[]; k: number[]}, FlashAttentionOptions]>([
    ['prefill', {q: [2, 3, 150, 20], k: [2, 3, 150, 20]}, {causal: true}],
    ['grouped', {q: [1, 4, 37, 16], k: [1, 2, 300, 16]}, {dropout: 0.2, seed: 7, softcap: 3}],
    ['decode', {q: [1, 4, 1, 32], k: [1, 2, 1500, 32]}, {}],
  ])('%s: the same bits on 1, 2, 3 and 7', (name, shapes, options) => {
    const one = run(1, shapes, options);
    for (const threads of [2, 3, 7]) {
      for (const [n, values] of run(threads, shapes, options).entries()) {
        expectSameBits(`${name}, ${threads} threads, result ${n}`, values, one[n], [values.length]);
      }
    }
  });

  it('a worker that dies in the middle of a call gives an error that says so, and the next call works', async () => {
    const shapes = {q: [1, 2, 64, 8], k: [1, 2, 64, 8]};
    const expected = run(1, shapes, {});
    run(2, shapes, {});
    const pool = sharedPool(VARIANT)!;
    await pool.workers[0].terminate();
    // As a worker leaves it that is killed while it runs an item.
    pool.broken = false;
    Object.assign(pool, {patienceMs: 50});
    Atomics.store(pool.control, 16, 1);
    expect(() => run(2, shapes, {})).toThrow('worker 0 of the pool stopped in the middle of a call');
    for (const [n, values] of run(2, shapes, {}).entries()) {
      expectSameBits(`result ${n}`, values, expected[n], [values.length]);
    }
  });

  it('a worker that dies between calls is replaced', async () => {
    const shapes = {q: [1, 2, 64, 8], k: [1, 2, 64, 8]};
    run(2, shapes, {});
    const pool = sharedPool(VARIANT)!;
    await pool.workers[0].terminate();
    const [output] = run(2, shapes, {});
    expectSameBits('output', output, run(1, shapes, {})[0], [output.length]);
    expect(sharedPool(VARIANT)).not.toBe(pool);
  });

  it.each([0, 1.5, -1])('%d threads are refused', threads => {
    expect(() => tf.env().set(THREADS_FLAG, threads)).toThrow('must be an integer of at least 1');
  });
});

it('workers do not keep a process alive', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'threads-'));
  try {
    const outfile = join(folder, 'script.cjs');
    await build({
      stdin: {contents: SCRIPT, resolveDir: __dirname, loader: 'ts'},
      outfile, bundle: true, platform: 'node', format: 'cjs', logLevel: 'silent',
    }); // prettier-ignore
    // Killed, with a throw here, were it to wait for its workers.
    expect(execFileSync(process.execPath, [outfile], {timeout: 30_000, encoding: 'utf8'})).toBe('ran on 2 workers\n');
  } finally {
    rmSync(folder, {recursive: true});
  }
});

const SCRIPT = `
import {sharedPool} from '../../kernels/wasm/pool';
  const pool = sharedPool('simd');
  pool.run(3, 'forward', 0, 0, 0, 0);
  setTimeout(() => console.log('ran on ' + pool.workers.length + ' workers'), 300);
`;
