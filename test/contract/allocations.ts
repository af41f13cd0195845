/**
 * The largest single allocation while something runs: arrays of the process or page, wasm memory, buffers of a WebGPU device,
 * textures of a WebGL context. What libtensorflow allocates is not seen here; test/memory.test.ts
 * measures that backend by the process's peak memory.
 */
import * as tf from '@tensorflow/tfjs-core';

export interface Allocation {
  /** Elements of 4 bytes, or of the array's own size. */
  elements: number;
  what: string;
}

type Report = (what: string, elements: number) => void;
type Restore = () => void;

export async function largestAllocation(work: () => Promise<void>): Promise<Allocation> {
  let largest: Allocation = {elements: 0, what: 'nothing'};
  const report: Report = (what, elements) => {
    if (elements > largest.elements) largest = {elements, what};
  };
  const restores = [watchArrays(report), watchWebGPU(report), watchWebGL(report), watchTfjsWasm(report)];
  try {
    await work();
  } finally {
    for (const restore of restores) restore();
  }
  return largest;
}

/** Bytes of all buffers and textures that `work` makes the GPU's backend create. */
export async function bytesCreatedOnDevice(work: () => Promise<unknown>): Promise<number> {
  let bytes = 0;
  const report: Report = (_, elements) => (bytes += 4 * elements);
  const restores = [watchWebGPU(report), watchWebGL(report)];
  try {
    await work();
  } finally {
    for (const restore of restores) restore();
  }
  return bytes;
}

/** The most bytes that tfjs's own count of tensors reaches above where it was, also inside kernels made of ops. */
export function peakTensorBytes(work: () => tf.Tensor[]): number {
  const before = tf.memory().numBytes;
  let peak = before;
  // Not tf.profile: it reads every result back to look for infinities.
  const restore = watchMethod(tf.engine(), 'trackTensor', () => (peak = Math.max(peak, tf.memory().numBytes)));
  try {
    tf.dispose(work());
  } finally {
    restore();
  }
  return peak - before;
}

/** The same of the tensors' data, which a reshape shares with what it reshapes. */
export function peakDataBytes(work: () => tf.Tensor[]): number {
  const references = new Map<object, number>();
  let bytes = 0;
  let peak = 0;
  const count = (x: tf.Tensor, step: 1 | -1): void => {
    const before = references.get(x.dataId) ?? 0;
    if (before === 0 && step < 0) return; // made before
    references.set(x.dataId, before + step);
    if (before === 0 || before + step === 0) bytes += step * x.size * tf.util.bytesPerElement(x.dtype);
    peak = Math.max(peak, bytes);
  };
  const restores = [
    watchMethod(tf.engine(), 'trackTensor', ([x]) => count(x as tf.Tensor, 1)),
    watchMethod(tf.engine(), 'disposeTensor', ([x]) => count(x as tf.Tensor, -1)),
  ];
  try {
    tf.dispose(work());
  } finally {
    restores.forEach(restore => restore());
  }
  return peak;
}

const ARRAYS = ['Float32Array', 'Float64Array', 'Int32Array', 'Uint32Array', 'Uint8Array', 'Uint16Array'] as const;
const BUFFERS = ['ArrayBuffer', 'SharedArrayBuffer'] as const;
const WASM_PAGE = 65536;

function watchArrays(report: Report): Restore {
  const restores = [
    ...ARRAYS.map(name =>
      watchConstructor(globalThis, name, (args, made) => {
        // A view of memory that was there is no allocation.
        const [source] = args;
        const isView =
          typeof source === 'object' && source !== null && 'byteLength' in source && !ArrayBuffer.isView(source);
        if (!isView) report(name, (made as ArrayLike<number>).length);
      }),
    ),
    ...BUFFERS.filter(name => name in globalThis).map(name =>
      watchConstructor(globalThis, name, (_, made) => report(name, (made as ArrayBuffer).byteLength / 4)),
    ),
    watchConstructor(WebAssembly, 'Memory', (_, made) =>
      report('WebAssembly.Memory', (made as WebAssembly.Memory).buffer.byteLength / 4),
    ),
    watchMethod(WebAssembly.Memory.prototype, 'grow', ([pages]) =>
      report('growth of WebAssembly.Memory', ((pages as number) * WASM_PAGE) / 4),
    ),
  ];
  return () => restores.forEach(restore => restore());
}

function watchConstructor(owner: object, name: string, seen: (args: unknown[], made: object) => void): Restore {
  const record = owner as Record<string, new (...args: unknown[]) => object>;
  const original = record[name];
  const construct = (target: typeof original, args: unknown[], newTarget: typeof original): object => {
    const made = Reflect.construct<unknown[], object>(target, args, newTarget);
    seen(args, made);
    return made;
  };
  record[name] = new Proxy(original, {construct});
  return () => void (record[name] = original);
}

/** Replaces a method by one that reports first; an object that inherits the method does so again afterwards. */
function watchMethod(owner: object, name: string, report: (args: unknown[]) => void): Restore {
  const record = owner as Record<string, (...args: unknown[]) => unknown>;
  const [original, isOwn] = [record[name], Object.hasOwn(owner, name)];
  record[name] = function (this: unknown, ...args: unknown[]) {
    report(args);
    return original.apply(this, args);
  };
  return () => {
    if (isOwn) record[name] = original;
    else Reflect.deleteProperty(owner, name);
  };
}

function watchWebGPU(report: Report): Restore {
  const {device} = tf.backend() as unknown as {device?: object};
  if (!device) return () => undefined;
  return watchMethod(device, 'createBuffer', ([descriptor]) =>
    report('a GPU buffer', (descriptor as GPUBufferDescriptor).size / 4),
  );
}

function watchWebGL(report: Report): Restore {
  const {gpgpu} = tf.backend() as unknown as {gpgpu?: {gl: WebGL2RenderingContext}};
  if (!gpgpu) return () => undefined;
  const {gl} = gpgpu;
  const size = (args: unknown[], from: number, to: number, channels: number): number =>
    (args.slice(from, to) as number[]).reduce((a, b) => a * b, channels);
  const ofFormat = (format: unknown): number => (format === gl.RGBA || format === gl.RGBA_INTEGER ? 4 : 1);
  const ofInternal = (format: unknown): number =>
    [gl.RGBA32F, gl.RGBA16F, gl.RGBA32UI, gl.RGBA32I, gl.RGBA8].includes(format as never) ? 4 : 1;
  const restores = [
    watchMethod(gl, 'texImage2D', args => {
      if (args.length >= 9) report('a texture', size(args, 3, 5, ofFormat(args[6])));
    }),
    watchMethod(gl, 'texStorage2D', args => report('a texture', size(args, 3, 5, ofInternal(args[2])))),
    watchMethod(gl, 'texStorage3D', args => report('a texture array', size(args, 3, 6, ofInternal(args[2])))),
    watchMethod(gl, 'bufferData', args => {
      if (typeof args[1] === 'number') report('a WebGL buffer', args[1] / 4);
    }),
  ];
  return () => restores.forEach(restore => restore());
}

/** tfjs's module, whose memory its kernels and makeOutput take by malloc. */
function watchTfjsWasm(report: Report): Restore {
  const {wasm} = tf.backend() as unknown as {wasm?: {_malloc(bytes: number): number}};
  if (!wasm) return () => undefined;
  return watchMethod(wasm, '_malloc', ([bytes]) => report('wasm memory', (bytes as number) / 4));
}
