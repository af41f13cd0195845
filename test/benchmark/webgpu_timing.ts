/** tfjs on the GPU that Dawn finds, with every feature, and its time by GPU timestamps. */
import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import {createWebGPUBackend} from '../../src/webgpu';

const FEATURES = 'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia';

interface TimedBackend {
  time(f: () => void): Promise<{kernelMs: number}>;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

export interface Gpu {
  device: GPUDevice;
  /** Validation errors so far. */
  errors: string[];
  finish(): Promise<void>;
  /** Keeps it busy for a while: an idle GPU clocks low. */
  warm(): Promise<void>;
  /** Median milliseconds of GPU time. */
  milliseconds(f: () => tf.TensorContainer, repeats?: number): Promise<number>;
}

/** @param warmMs how long the GPU is kept busy before each measurement: an idle one clocks low. */
export async function openGpu(warmMs: number): Promise<Gpu> {
  const {create, globals} = await import('webgpu');
  Object.assign(globalThis, globals);
  const device = await createWebGPUBackend({gpu: create([FEATURES, 'disable-dawn-features=timestamp_quantization'])});
  const errors: string[] = [];
  device.addEventListener('uncapturederror', event => errors.push(event.error.message));
  const backend = tf.backend() as unknown as TimedBackend;
  const side = warmMs > 10 ? 2048 : 32;
  const square = tf.randomNormal<tf.Rank.R2>([side, side]);

  async function finish(): Promise<void> {
    backend.ensureCommandEncoderReady();
    backend.endComputePassEncoder();
    backend.submitQueue();
    await device.queue.onSubmittedWorkDone();
  }

  async function warm(): Promise<void> {
    const begin = performance.now();
    const burst = () => {
      for (let n = 0; n < 40; n++) tf.matMul(square, square).dispose();
    };
    for (burst(); performance.now() - begin < warmMs; burst()) await finish();
    burst();
  }

  async function milliseconds(f: () => tf.TensorContainer, repeats = 3): Promise<number> {
    tf.dispose(f());
    await finish();
    await warm();
    const samples: number[] = [];
    for (let n = 0; n < 5; n++) {
      const {kernelMs} = await backend.time(() => {
        for (let r = 0; r < repeats; r++) tf.dispose(f());
      });
      samples.push(kernelMs / repeats);
    }
    return samples.sort((a, b) => a - b)[2];
  }

  return {device, errors, finish, warm, milliseconds};
}
