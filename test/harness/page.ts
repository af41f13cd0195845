/**
 * What runs inside the browser page: tfjs with its browser backends, and the exported functions of one module, `page-module`,
 * which stands for the file that `openPage` was given.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import '@tensorflow/tfjs-backend-cpu';
import {setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import * as pageModule from 'page-module';
import {deviceOf, insideScopes, throwGlErrors} from './error_scopes';

export type BrowserBackend = 'cpu' | 'wasm' | 'webgl' | 'webgpu';

/** What a call inside the page comes to: a value, or the error as text. */
export type Outcome = {value: unknown} | {error: string};

async function selectBackend(backend: BrowserBackend): Promise<void> {
  tf.env().set('IS_TEST', true);
  // tfjs's own programs then take sizes as uniforms, as ours do: compiled once a rank, not once a shape.
  tf.env().set('WEBGL_USE_SHAPES_UNIFORMS', true);
  setWasmPaths('/wasm/');
  if (!(await tf.setBackend(backend))) throw new Error(`The backend ${backend} does not start in this browser.`);
  await tf.ready();
}

async function callExport(name: string, args: unknown[]): Promise<unknown> {
  if (!(name in pageModule)) throw new Error(`The page's module exports no ${name}.`);
  return await pageModule[name](...args);
}

/** Calls one exported function of the page's module; whatever the device complains about meanwhile is an error, too. */
async function callWatched(name: string, args: unknown[]): Promise<unknown> {
  switch (tf.getBackend()) {
    case 'webgpu':
      return insideScopes(deviceOf(tf.backend()), () => callExport(name, args));
    case 'webgl': {
      const backend = tf.backend();
      const value = await callExport(name, args);
      throwGlErrors(backend);
      return value;
    }
    default:
      return callExport(name, args);
  }
}

function outcome(work: Promise<unknown>): Promise<Outcome> {
  return work.then(
    value => ({value}),
    (error: unknown) => ({error: error instanceof Error ? (error.stack ?? error.message) : String(error)}),
  );
}

/** How browser.ts reaches into the page. */
export const harness = {
  start: (backend: BrowserBackend) => outcome(selectBackend(backend)),
  call: (name: string, args: unknown[]) => outcome(callWatched(name, args)),
};

Object.assign(globalThis, {harness});
