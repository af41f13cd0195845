/**
 * tfjs's backends in plain Node for the tests. A suite on a backend whose parts this machine cannot have is skipped with the
 * reason in its title; the reporter repeats it at the end of the run.
 */
import * as tf from '@tensorflow/tfjs-core';
import {join} from 'node:path';
import {deviceOf, popScopes, pushScopes} from './error_scopes';

export type NodeBackend = 'cpu' | 'wasm' | 'tensorflow' | 'webgpu';
export type Part = 'tfjs-node' | 'chromium' | 'dawn';

interface Dawn {
  gpu: GPU;
  globals: object;
}

/** What environment.mjs puts into the global scope. */
declare const missingParts: Partial<Record<Part, string>>;
declare const openDawn: (flags: string[]) => Promise<Dawn>;

const PARTS: Record<NodeBackend, Part[]> = {cpu: [], wasm: [], tensorflow: ['tfjs-node'], webgpu: ['dawn']};

/** `describe` that is skipped, with the reason, where a part is missing. */
export function describeWith(parts: Part[], title: string, body: () => void): void {
  const reasons = parts.filter(part => missingParts[part]).map(part => `${part}: ${missingParts[part]}`);
  if (reasons.length === 0) describe(title, body);
  else describe.skip(`${title} [${reasons.join('; ')}]`, body);
}

/** A suite that runs with the backend selected. */
export function describeOn(backend: NodeBackend, title: string, body: () => void): void {
  describeWith(PARTS[backend], `${title} on ${backend}`, () => {
    useBackend(backend);
    body();
  });
}

/**
 * Selects the backend for the tests of the calling suite. On webgpu every validation error, internal error or lack of memory
 * fails the test that caused it.
 */
export function useBackend(backend: NodeBackend): void {
  beforeAll(async () => {
    // Keeps tfjs from advertising tfjs-node on every run.
    tf.env().set('IS_TEST', true);
    await loadBackend(backend);
    await tf.setBackend(backend);
    await tf.ready();
  });
  if (backend !== 'webgpu') return;
  beforeEach(() => pushScopes(deviceOf(tf.backend())));
  afterEach(() => popScopes(deviceOf(tf.backend())));
}

async function loadBackend(backend: NodeBackend): Promise<void> {
  // tfjs-core alone has no gradients of its ops: the union package brings them.
  await import('@tensorflow/tfjs');
  switch (backend) {
    case 'cpu':
      await import('@tensorflow/tfjs-backend-cpu');
      return;
    case 'wasm': {
      const {setWasmPaths} = await import('@tensorflow/tfjs-backend-wasm');
      setWasmPaths(join(require.resolve('@tensorflow/tfjs-backend-wasm'), '../'));
      return;
    }
    case 'tensorflow':
      await import('@tensorflow/tfjs-node');
      return;
    case 'webgpu':
      await useDawn();
      await import('@tensorflow/tfjs-backend-webgpu');
  }
}

/** Makes Dawn the process's WebGPU: `navigator.gpu` and the WebGPU globals. */
export async function useDawn(flags: string[] = []): Promise<GPU> {
  const {gpu, globals} = await openDawn(flags);
  Object.assign(globalThis, globals);
  const navigator = globalThis.navigator ?? {};
  Object.defineProperty(navigator, 'gpu', {value: gpu, configurable: true});
  Object.defineProperty(globalThis, 'navigator', {value: navigator, configurable: true});
  return gpu;
}

/**
 * A device of Dawn's null backend, which compiles shaders and runs nothing: for checking WGSL with features that the software
 * device lacks (shader-f16, subgroups). Features it does not know are an error.
 */
export async function openNullDevice(
  requiredFeatures: GPUFeatureName[] = ['shader-f16', 'subgroups'],
): Promise<GPUDevice> {
  const {gpu, globals} = await openDawn(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
  Object.assign(globalThis, globals);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error('Dawn has no null backend');
  return adapter.requestDevice({requiredFeatures});
}

/** @throws Error with the compiler's messages when the WGSL is not valid on the device. */
export async function checkShader(device: GPUDevice, code: string): Promise<void> {
  pushScopes(device);
  const {messages} = await device.createShaderModule({code}).getCompilationInfo();
  const errors = messages.filter(({type}) => type === 'error').map(m => `${m.lineNum}:${m.linePos} ${m.message}`);
  await popScopes(device).catch((error: unknown) => errors.push(String(error)));
  if (errors.length > 0) throw new Error(errors.join('\n'));
}
