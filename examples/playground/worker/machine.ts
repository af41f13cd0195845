/** The roofs of the device as this backend reaches them: a large product, and a large copy. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import type {Roofs} from '../messages';
import {batchTime} from './timing';

/** Sizes double until one call takes this long, or the largest is reached. */
const LONG_ENOUGH_MS = 30;
const SIDES = {from: 128, to: 4096};
const COPIED_NUMBERS = {from: 2 ** 18, to: 2 ** 25};
const ROUNDS = 3;

export async function measureRoofs(): Promise<Roofs> {
  const {size: side, ms: productMs} = await fastest(SIDES, size => {
    const [a, b] = [tf.randomUniform([size, size]), tf.randomUniform([size, size])];
    return {call: () => tf.matMul(a, b), used: [a, b]};
  });
  const {size: numbers, ms: copyMs} = await fastest(COPIED_NUMBERS, size => {
    const x = tf.ones([size]);
    return {call: () => tf.neg(x), used: [x]};
  });
  return {
    side,
    flops: (2 * side ** 3) / (productMs / 1e3),
    copyBytes: 4 * numbers,
    bandwidth: (8 * numbers) / (copyMs / 1e3),
  };
}

interface Work {
  call: () => Tensor;
  used: Tensor[];
}

/** The best time of the size that takes long enough. */
async function fastest(
  {from, to}: {from: number; to: number},
  make: (size: number) => Work,
): Promise<{size: number; ms: number}> {
  for (let size = from; ; size *= 2) {
    const {call, used} = make(size);
    await batchTime(call, 1);
    let ms = await batchTime(call, 1);
    const isLast = ms >= LONG_ENOUGH_MS || size >= to;
    // Two in a row, since the wait for the end takes its time, too.
    for (let round = 0; isLast && round < ROUNDS; round++) ms = Math.min(ms, (await batchTime(call, 2)) / 2);
    tf.dispose(used);
    if (isLast) return {size, ms};
  }
}
