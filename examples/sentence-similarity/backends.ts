/** Backends of Node that the example can be asked for. */
import * as tf from '@tensorflow/tfjs-core';

const LOADERS: Record<string, () => Promise<unknown>> = {
  cpu: () => import('@tensorflow/tfjs-backend-cpu'),
  wasm: () => import('@tensorflow/tfjs-backend-wasm'),
  tensorflow: () => import('@tensorflow/tfjs-node'),
};

export const BACKENDS = Object.keys(LOADERS);

/** @throws Error in one line where the backend's package is missing or does not start. */
export async function loadBackend(name: string): Promise<void> {
  // Otherwise tfjs advertises its Node binding on every run.
  tf.env().set('PROD', true);
  try {
    await LOADERS[name]();
    if (await tf.setBackend(name)) return;
  } catch (error) {
    throw new Error(`Backend '${name}' cannot be loaded: ${(error as Error).message.split('\n')[0]}`, {cause: error});
  }
  throw new Error(`Backend '${name}' does not start here.`);
}
