/**
 * Are the experimental subgroup matrices of a device to be trusted? They differ from driver to driver, so one small call in each
 * half precision, by each of their kernels, is held to the same call in float32 before any other may use them.
 */
import * as tf from '@tensorflow/tfjs-core';
import {internalsOf, stateOf} from './backends/webgpu/device';
import {flashAttention} from './op/flash_attention';

/** Far above what half precision loses on these inputs (4e-3 and 1e-5 by the contract), far below a wrong product. */
const ALLOWED = {float16: 2e-2, float16x2: 1e-4} as const;

/** On the current backend, whose device this is. */
export async function matricesAgree(device: GPUDevice): Promise<boolean> {
  const shape: [number, number, number, number] = [1, 1, 96, 64];
  const [q, k, v] = [1, 2, 3].map(seed => tf.randomNormal(shape, 0, 1, 'float32', seed));
  const state = stateOf(internalsOf(tf.backend()));
  try {
    for (const [precision, allowed] of Object.entries(ALLOWED) as Array<[keyof typeof ALLOWED, number]>) {
      for (const [causal, converts] of [
        [false, false],
        [true, false],
        [true, true],
      ]) {
        state.converts = converts;
        device.pushErrorScope('validation');
        const worst = tf.tidy(() => {
          const half = flashAttention(q, k, v, {causal, precision});
          return tf.max(tf.abs(tf.sub(half, flashAttention(q, k, v, {causal}))));
        });
        const [difference] = await worst.data();
        worst.dispose();
        const complaint = await device.popErrorScope();
        // Not `>`: a NaN is no agreement.
        if (complaint !== null || !(difference <= allowed)) return false;
      }
    }
    return true;
  } finally {
    delete state.converts;
    tf.dispose([q, k, v]);
  }
}
