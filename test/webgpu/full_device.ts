/** tfjs's webgpu backend on a device that has every feature and limit of its adapter. */
import * as tf from '@tensorflow/tfjs-core';
import {deviceOf, popScopes, pushScopes} from '../harness/error_scopes';
import {useDawn} from '../harness/node';

export const UNSAFE = ['enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia'];

export function useFullDevice(): void {
  beforeAll(async () => {
    tf.env().set('IS_TEST', true);
    await import('@tensorflow/tfjs');
    const gpu = await useDawn(UNSAFE);
    const adapter = (await gpu.requestAdapter())!;
    const {WebGPUBackend} = await import('@tensorflow/tfjs-backend-webgpu');
    const device = await adapter.requestDevice({requiredFeatures: [...adapter.features] as GPUFeatureName[]});
    tf.removeBackend('webgpu');
    tf.registerBackend('webgpu', () => new WebGPUBackend(device, adapter.info), 3);
    await tf.setBackend('webgpu');
    await tf.ready();
  });
  beforeEach(() => pushScopes(deviceOf(tf.backend())));
  afterEach(() => popScopes(deviceOf(tf.backend())));
}
