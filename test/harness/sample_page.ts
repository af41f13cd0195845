/** What harness.test.ts calls inside the page. */
import * as tf from '@tensorflow/tfjs-core';
import {deviceOf} from './error_scopes';

export function product(a: Float32Array, b: number[]) {
  return tf.matMul(tf.tensor2d(a, [1, a.length]), tf.tensor2d(b, [b.length, 1])).data();
}

export const backendName = () => tf.getBackend();

export function fails() {
  throw new Error('as it should');
}

/** An error nobody awaits. */
export async function failsElsewhere() {
  setTimeout(() => {
    throw new Error('elsewhere');
  });
  await new Promise(resolve => setTimeout(resolve, 50));
}

export function complains() {
  console.error('on the console');
}

/** A mistake that neither API throws for. */
export function misuses() {
  if (tf.getBackend() === 'webgpu') {
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE;
    deviceOf(tf.backend()).createBuffer({size: 4, usage});
  } else {
    (tf.backend() as unknown as {gpgpu: {gl: WebGL2RenderingContext}}).gpgpu.gl.enable(1);
  }
}

export const sharesMemory = () => crossOriginIsolated && new SharedArrayBuffer(8).byteLength === 8;
