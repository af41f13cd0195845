/** GPUs report mistakes apart from the call that made them: these hold the test responsible that caused them. */
import type {KernelBackend} from '@tensorflow/tfjs-core';

const SCOPES = ['validation', 'internal', 'out-of-memory'] as const;

export function deviceOf(backend: KernelBackend): GPUDevice {
  return (backend as unknown as {device: GPUDevice}).device;
}

export function pushScopes(device: GPUDevice): void {
  for (const scope of SCOPES) device.pushErrorScope(scope);
}

/** @throws Error with every message that the device left in the scopes. */
export async function popScopes(device: GPUDevice): Promise<void> {
  const errors = await Promise.all(SCOPES.map(() => device.popErrorScope()));
  const messages = errors.filter(error => error !== null).map(({message}) => message);
  if (messages.length > 0) throw new Error(`WebGPU: ${messages.join('\n')}`);
}

/** Runs the work inside scopes. Where both the work and the device complain, the error says both. */
export async function insideScopes<T>(device: GPUDevice, work: () => Promise<T>): Promise<T> {
  pushScopes(device);
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await popScopes(device).catch((complaint: unknown) => {
      throw new Error(`${String(error)}\n${String(complaint)}`, {cause: error});
    });
    throw error;
  }
  await popScopes(device);
  return result;
}

/** @throws Error when a WebGL call since the last look was wrong. */
export function throwGlErrors(backend: KernelBackend): void {
  const {gl} = (backend as unknown as {gpgpu: {gl: WebGL2RenderingContext}}).gpgpu;
  const error = gl.getError();
  if (error !== gl.NO_ERROR) throw new Error(`WebGL error 0x${error.toString(16)}`);
}
