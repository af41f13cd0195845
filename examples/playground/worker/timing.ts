/** Times a call fairly: warm, in turn with the others, in batches that make waiting weigh little, by medians. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import type {Timing} from '../messages';

export type Call = () => Tensor;

const BATCH_MS = 40;
const MOST_CALLS = 200;
const MOST_ROUNDS = 5;

/** @param budgetMs what the rounds together should take; one round there is at least. */
export async function timeInTurn(calls: Call[], budgetMs: number): Promise<Timing[]> {
  const once: number[] = [];
  for (const call of calls) {
    await batchTime(call, 1); // compiles
    once.push(await batchTime(call, 1));
  }
  const counts = once.map(ms => Math.max(1, Math.min(MOST_CALLS, Math.round(BATCH_MS / ms))));
  const roundMs = once.reduce((sum, ms, c) => sum + ms * counts[c], 0);
  const rounds = Math.max(1, Math.min(MOST_ROUNDS, Math.floor(budgetMs / roundMs)));
  const samples = calls.map(() => [] as number[]);
  for (let round = 0; round < rounds; round++) {
    for (const c of calls.keys()) samples[c].push((await batchTime(calls[c], counts[c])) / counts[c]);
  }
  return samples.map((values, c) => {
    const sorted = values.sort((a, b) => a - b);
    return {
      ms: sorted[sorted.length >> 1],
      fastest: sorted[0],
      slowest: sorted[sorted.length - 1],
      calls: counts[c],
      rounds,
    };
  });
}

/** Milliseconds that `count` calls take, to the end of the last. */
export async function batchTime(call: Call, count: number): Promise<number> {
  const begin = performance.now();
  for (let n = 1; n < count; n++) call().dispose();
  const last = call();
  await settled(last);
  const ms = performance.now() - begin;
  last.dispose();
  return ms;
}

/** A GPU works behind the script's back; one number of the result is there when all of it is. */
async function settled(result: Tensor): Promise<void> {
  const number = tf.tidy(() => tf.slice(tf.reshape(result, [-1]), 0, 1));
  await number.data();
  number.dispose();
}
