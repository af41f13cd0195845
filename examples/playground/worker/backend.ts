/** Starts a tfjs backend in this worker, with the reason where it does not start, and says what it runs on. */
import * as tf from '@tensorflow/tfjs-core';
import plainWasm from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import simdWasm from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import type {BackendName} from '../messages';

const PATIENCE_MS = 30_000;

/** Each loads its package, starts the backend and describes the device. */
const STARTS: Record<BackendName, () => Promise<string>> = {
  webgpu: startWebGPU,
  webgl: startWebGL,
  wasm: startWasm,
  cpu: startCpu,
};

/**
 * @returns the device in words.
 * @throws Error with the reason why the backend does not start here.
 */
export async function startBackend(name: BackendName): Promise<string> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const patience = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it did not start within ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([STARTS[name](), patience]);
  } catch (error) {
    throw new Error(`The backend ${name} does not start here: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}

async function startWebGPU(): Promise<string> {
  const {createWebGPUBackend} = await import('tfjs-flash-attention/webgpu');
  const {adapterInfo} = await createWebGPUBackend();
  const {vendor, architecture, description} = adapterInfo;
  return description || [vendor, architecture].filter(Boolean).join(' ') || 'a GPU without a name';
}

async function startWebGL(): Promise<string> {
  const gl = new OffscreenCanvas(1, 1).getContext('webgl2');
  if (!gl) throw new Error('the browser has no WebGL 2 in workers');
  await import('@tensorflow/tfjs-backend-webgl');
  await select('webgl');
  const names = gl.getExtension('WEBGL_debug_renderer_info');
  return String(gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}

/** One thread, whatever the page may share: tfjs's threads do not outlive a bundler's renaming, and both ways are to have the same. */
async function startWasm(): Promise<string> {
  const {setWasmPaths} = await import('@tensorflow/tfjs-backend-wasm');
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  tf.env().set('FLASH_ATTENTION_THREADS', 1);
  const [plain, simd] = [plainWasm, simdWasm].map(url => new URL(url, self.location.href).href);
  setWasmPaths({
    'tfjs-backend-wasm.wasm': plain,
    'tfjs-backend-wasm-simd.wasm': simd,
    'tfjs-backend-wasm-threaded-simd.wasm': simd, // asked for, never loaded
  });
  await Promise.all([plain, simd].map(reachable));
  await select('wasm');
  return 'WebAssembly, one thread';
}

/** tfjs itself waits forever for a file that does not come. */
async function reachable(url: string): Promise<void> {
  const file = url.slice(url.lastIndexOf('/') + 1);
  const response = await fetch(url, {method: 'HEAD'}).catch(() => null);
  if (!response?.ok) throw new Error(`the file ${file} does not load (${response ? response.status : 'no answer'})`);
}

async function startCpu(): Promise<string> {
  await import('@tensorflow/tfjs-backend-cpu');
  tf.env().set('FLASH_ATTENTION_THREADS', 1);
  await select('cpu');
  return 'JavaScript, one thread';
}

/** tf.setBackend says false and keeps the reason to itself: the factory is asked in its place. */
async function select(name: BackendName): Promise<void> {
  const factory = tf.findBackendFactory(name);
  if (!factory) throw new Error('the browser lacks what it needs');
  const backend = await factory();
  tf.removeBackend(name);
  tf.registerBackend(name, () => backend);
  await tf.setBackend(name);
  await tf.ready();
}
