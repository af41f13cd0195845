/**
 * Settings of the WebAssembly kernels, as tfjs flags: `tf.env().set('FLASH_ATTENTION_THREADS', 2)`.
 *
 * FLASH_ATTENTION_THREADS        threads of a call; default: the cores, 1 where memory cannot be shared
 * FLASH_ATTENTION_THREADED_FROM multiply-adds from which a call uses them: below, waking a thread costs more than it brings
 * FLASH_ATTENTION_RELAXED_SIMD   use fused multiply-adds; default: where the engine has them
 */
import {env} from '@tensorflow/tfjs-core';
import {runsVariant} from '../../kernels/wasm/module';
import type {Variant} from '../../kernels/wasm/module';
import {defaultThreads} from '../../kernels/wasm/pool';

export const THREADS_FLAG = 'FLASH_ATTENTION_THREADS';
export const THREADED_FROM_FLAG = 'FLASH_ATTENTION_THREADED_FROM';
export const RELAXED_SIMD_FLAG = 'FLASH_ATTENTION_RELAXED_SIMD';

env().registerFlag(THREADS_FLAG, defaultThreads, value => {
  if (!Number.isInteger(value) || (value as number) < 1) {
    throw new Error(`The flag ${THREADS_FLAG} must be an integer of at least 1, but got ${value}.`);
  }
});
// N 256 with four heads of 64.
env().registerFlag(THREADED_FROM_FLAG, () => 2 ** 25);
env().registerFlag(RELAXED_SIMD_FLAG, () => runsVariant('relaxed-simd'));

export function chosenVariant(): Variant {
  return env().getBool(RELAXED_SIMD_FLAG) ? 'relaxed-simd' : 'simd';
}
