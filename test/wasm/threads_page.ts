/** Runs inside the page: flashAttention of the current backend on one thread and on two. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention} from '../../src';
import {sharedPool} from '../../kernels/wasm/pool';
import {THREADED_FROM_FLAG, THREADS_FLAG} from '../../src/backends/wasm_settings';

export async function oneAndTwoThreads(): Promise<{
  isShared: boolean;
  workers: number;
  differing: number;
  threads: number;
}> {
  const threads = tf.env().getNumber(THREADS_FLAG);
  tf.env().set(THREADED_FROM_FLAG, 0);
  const random = (seed: number) => tf.randomNormal([1, 2, 200, 32], 0, 1, 'float32', seed);
  const [q, k, v] = [1, 2, 3].map(random);
  const run = (count: number) => {
    tf.env().set(THREADS_FLAG, count);
    return tf.tidy(() => flashAttention(q, k, v, {causal: true}).dataSync());
  };
  const one = run(1);
  run(2);
  // Workers of a page start when its script pauses.
  await new Promise(resolve => setTimeout(resolve, 500));
  const two = run(2);
  tf.dispose([q, k, v]);
  return {
    isShared: self.crossOriginIsolated,
    workers: self.crossOriginIsolated
      ? sharedPool('simd')!.workers.length + (sharedPool('relaxed-simd')?.workers.length ?? 0)
      : 0,
    differing: one.filter((x, n) => !Object.is(x, two[n])).length,
    threads,
  };
}
