/** tfjs's webgpu backend on a device that has every feature and limit of its adapter, as createWebGPUBackend opens it. */
import * as tf from '@tensorflow/tfjs-core';
import {createWebGPUBackend} from '../../src/webgpu';
import {deviceOf, popScopes, pushScopes} from '../harness/error_scopes';
import {useDawn} from '../harness/node';

/** Dawn keeps shader-f16 on NVIDIA and experimental features behind these. */
export const UNSAFE = ['enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia'];

export function useFullDevice(): void {
  beforeAll(async () => {
    tf.env().set('IS_TEST', true);
    await import('@tensorflow/tfjs');
    await createWebGPUBackend({gpu: await useDawn(UNSAFE)});
  });
  beforeEach(() => pushScopes(deviceOf(tf.backend())));
  afterEach(() => popScopes(deviceOf(tf.backend())));
}
