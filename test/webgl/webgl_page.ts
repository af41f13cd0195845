/** What only WebGL has to answer for, in the page: limits, packing, textures, the context's state. webgl.test.ts asks. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {explain, flashAttention, flashAttentionWithLse, onlineSoftmax} from '../../src';
import type {Explanation, FlashAttentionOptions} from '../../src';
import {forceImplementation} from '../../src/register';
import {caseNamed} from '../cases';
import {allowance, expectClose} from '../closeness';
import {checkCase} from '../contract/run_case';

type Precision = FlashAttentionOptions['precision'];
type Flags = Record<string, number | boolean>;

/** With sizes as uniforms, tfjs's own programs mistake one layout of a texture for another when the largest size changes. */
const smallTextures = (size: number): Flags => ({WEBGL_MAX_TEXTURE_SIZE: size, WEBGL_USE_SHAPES_UNIFORMS: false});

const context = (): WebGL2RenderingContext =>
  (tf.backend() as unknown as {gpgpu: {gl: WebGL2RenderingContext}}).gpgpu.gl;

async function withFlags<T>(flags: Flags, work: () => Promise<T>): Promise<T> {
  const before = Object.keys(flags).map(flag => [flag, tf.env().get(flag)] as const);
  for (const [flag, value] of Object.entries(flags)) tf.env().set(flag, value);
  try {
    return await work();
  } finally {
    for (const [flag, value] of before) tf.env().set(flag, value);
  }
}

/** Holds cases to the contract under other flags of tfjs. */
export async function holdCases(names: string[], flags: Flags, precision?: Precision): Promise<void> {
  forceImplementation('fragments');
  try {
    await withFlags(flags, async () => {
      for (const name of names) {
        const c = caseNamed(name);
        await checkCase(precision ? {...c, options: {...c.options, precision}} : c);
      }
    });
  } finally {
    forceImplementation(null);
  }
}

/** The same with textures of at most `size` texels a side. */
export async function holdInSmallTextures(name: string, size: number): Promise<void> {
  await holdCases([name], smallTextures(size));
}

function sequence(shape: number[]): Tensor[] {
  return [1, 2, 3].map(seed => tf.randomNormal(shape, 0, 1, 'float32', seed));
}

/** Output and every gradient with textures of `size` texels a side, against those without a limit. */
export async function holdParts(size: number): Promise<void> {
  const x = [...sequence([1, 30, 130, 1]), tf.randomNormal([30, 1, 130], 0, 1, 'float32', 4)];
  const gradients = tf.grads((q, k, v, bias) => {
    const {output, lse} = flashAttentionWithLse(q, k, v, {causal: true, window: [90, -1], bias});
    return tf.add(tf.sum(tf.mul(output, v)), tf.sum(lse));
  });
  const run = async (): Promise<Float32Array[]> => {
    const results = [flashAttention(x[0], x[1], x[2], {bias: x[3]}), ...gradients(x)];
    const values = (await Promise.all(results.map(tensor => tensor.data()))) as Float32Array[];
    tf.dispose(results);
    return values;
  };
  try {
    const expected = await run();
    const actual = await withFlags(smallTextures(size), run);
    const names = ['output', 'dq', 'dk', 'dv', 'dbias'];
    names.forEach((name, n) =>
      expectClose(name, actual[n], expected[n], allowance('gradient', expected[n], expected[n])),
    );
  } finally {
    tf.dispose(x);
  }
}

/** tfjs's counts before and after many calls, forward and backward and softmax. */
export async function countsOverCalls(calls: number): Promise<Array<Record<string, number>>> {
  const x = sequence([1, 2, 70, 16]);
  const bias = tf.randomNormal([2, 1, 70]);
  const gradients = tf.grads((q, k, v, b) => tf.sum(flashAttention(q, k, v, {causal: true, bias: b})));
  const call = async (): Promise<void> => {
    const [q, k, v] = x;
    const results = [flashAttention(q, k, v), onlineSoftmax(q), ...gradients([q, k, v, bias])];
    await results[0].data();
    tf.dispose(results);
  };
  const counts = (): Record<string, number> => {
    const memory = tf.memory() as unknown as Record<string, number>;
    return Object.fromEntries(
      ['numTensors', 'numBytesInGPU', 'numBytesInGPUAllocated', 'numBytesInGPUFree'].map(name => [name, memory[name]]),
    );
  };
  await call();
  await call();
  const all = [counts()];
  for (let n = 0; n < calls; n++) await call();
  all.push(counts());
  tf.dispose([x, bias]);
  return all;
}

/** How many of `calls` runs gave other bits than the first. */
export async function differingRuns(calls: number): Promise<number> {
  const x = sequence([1, 1, 130, 8]);
  const gradients = tf.grads((q, k, v) => tf.sum(flashAttention(q, k, v, {causal: true, dropout: 0.1, seed: 5})));
  const bits = async (): Promise<string> => {
    const results = gradients(x).concat(flashAttention(x[0], x[1], x[2]));
    const values = await Promise.all(results.map(tensor => tensor.data()));
    tf.dispose(results);
    return values.map(array => new Uint32Array((array as Float32Array).slice().buffer).join()).join();
  };
  const first = await bits();
  let differing = 0;
  for (let n = 1; n < calls; n++) if ((await bits()) !== first) differing++;
  tf.dispose(x);
  return differing;
}

/** Inputs in every form that tfjs's WebGL backend has for them; all must give the same result as plain ones. */
export async function otherForms(): Promise<void> {
  const plain = sequence([1, 3, 20, 10]);
  const [q, k, v] = plain;
  const expected = await flashAttention(q, k, v).data();
  const forms: Record<string, () => Tensor[]> = {
    packed: () => plain.map(x => tf.add(x, 0)),
    'packed, reshaped': () => plain.map(x => tf.reshape(tf.add(tf.reshape(x, [6, 10, 10]), 0), [1, 3, 20, 10])),
    'odd packed rows, reshaped': () => plain.map(x => tf.reshape(tf.add(tf.reshape(x, [20, 3, 10]), 0), [1, 3, 20, 10])),
    'a slice without a copy': () =>
      plain.map(x => {
        const longer = tf.reshape(tf.concat([tf.zeros([77]), tf.reshape(x, [600])]), [677]);
        return tf.reshape(tf.slice(longer, [77], [600]), [1, 3, 20, 10]);
      }),
    'on the host': () => plain.map(x => tf.tensor(x.dataSync(), x.shape)),
  }; // prettier-ignore
  for (const [form, make] of Object.entries(forms)) {
    const inputs = tf.tidy(make);
    const output = flashAttention(inputs[0], inputs[1], inputs[2]);
    expectClose(form, await output.data(), expected, 0);
    tf.dispose([inputs, output]);
  }
  tf.dispose(plain);
}

/** The context's bindings that are not as before a call, and what GL says. */
export async function stateChanges(): Promise<string[]> {
  const gl = context();
  const x = sequence([1, 2, 40, 8]);
  tf.dispose(tf.add(x[0], 1)); // the last program is one of tfjs's
  const bindings = (): Record<string, unknown> => {
    const names = [
      'CURRENT_PROGRAM', 'FRAMEBUFFER_BINDING', 'VERTEX_ARRAY_BINDING', 'BLEND', 'SCISSOR_TEST', 'CULL_FACE', 'DEPTH_TEST',
    ] as const; // prettier-ignore
    return Object.fromEntries(names.map(name => [name, gl.getParameter(gl[name])]));
  };
  const warm = flashAttention(x[0], x[1], x[2]);
  tf.dispose(tf.add(x[0], 1));
  const before = bindings();
  const output = flashAttention(x[0], x[1], x[2]);
  const after = bindings();
  const changed = Object.keys(before).filter(name => before[name] !== after[name]);
  for (let unit = 0; unit < 16; unit++) {
    gl.activeTexture(gl.TEXTURE0 + unit);
    if (gl.getParameter(gl.TEXTURE_BINDING_2D_ARRAY) !== null) changed.push(`unit ${unit} still holds a texture array`);
  }
  // tfjs goes on as if nothing had been.
  const sum = tf.add(output, warm);
  expectClose(
    'sum',
    await sum.data(),
    (await output.data()).map(value => 2 * value),
    0,
  );
  tf.dispose([x, output, warm, sum]);
  return changed;
}

/** Which implementation serves a plain call under these flags, and why not another; where it runs, the result stays right. */
export async function servedBy(flags: Flags, runs: boolean): Promise<{name: string; reasons: string[]}> {
  const [q, k, v] = sequence([1, 1, 9, 4]);
  const expected = await flashAttention(q, k, v).data();
  const before = Object.keys(flags).map((flag): [string, number | boolean] => [
    flag,
    tf.env().get(flag) as number | boolean,
  ]);
  for (const [flag, value] of Object.entries(flags)) tf.env().set(flag, value);
  const warn = console.warn;
  console.warn = () => undefined; // the op says once that another implementation serves
  try {
    const explained = explain(q, k, v);
    if (runs) {
      const output = flashAttention(q, k, v);
      expectClose('output', await output.data(), expected, 1e-2);
      tf.dispose(output);
    }
    return {name: explained.implementation, reasons: explained.reasons.map(({name, reason}) => `${name}: ${reason}`)};
  } finally {
    console.warn = warn;
    for (const [flag, value] of before) tf.env().set(flag, value);
    tf.dispose([q, k, v]);
  }
}

/** Of one call, with textures of `size` texels a side: the viewports of its draws, the textures that it held at its peak, and what `explain` says of the call. */
export async function drawsOf(
  shape: number[],
  [keyHeads, keys]: [heads: number, keys: number],
  options: FlashAttentionOptions,
  size?: number,
) {
  const q = tf.randomNormal(shape);
  const k = tf.randomNormal([shape[0], keyHeads, keys, shape[3]]);
  tf.dispose([tf.neg(q), tf.neg(k)]); // they are on the GPU from here on
  const gl = context();
  const viewports: number[][] = [];
  const drawArrays = gl.drawArrays.bind(gl);
  gl.drawArrays = (...args) => {
    viewports.push(Array.from(gl.getParameter(gl.VIEWPORT) as Int32Array));
    drawArrays(...args);
  };
  const backend = tf.backend() as unknown as {numBytesInGPU: number};
  let bytes = backend.numBytesInGPU;
  const before = bytes;
  let peak = bytes;
  Object.defineProperty(backend, 'numBytesInGPU', {
    configurable: true,
    get: () => bytes,
    set: (value: number) => {
      bytes = value;
      peak = Math.max(peak, value);
    },
  });
  let explained: Explanation;
  let output: Tensor;
  try {
    [explained, output] = await withFlags(size === undefined ? {} : smallTextures(size), async () => [
      explain(q, k, k, options),
      flashAttention(q, k, k, options),
    ]);
  } finally {
    Object.defineProperty(backend, 'numBytesInGPU', {
      configurable: true,
      writable: true,
      enumerable: true,
      value: bytes,
    });
    delete (gl as Partial<typeof gl>).drawArrays;
  }
  const outputs = output.size + 2 * (output.size / shape[shape.length - 1]); // lse and lseLow
  await output.data();
  tf.dispose([q, k, output]);
  return {explained, viewports, scratch: peak - before - 4 * outputs};
}

/** tf.profile's kernels and tf.time's answer for one call. */
export async function profiled(): Promise<{kernels: string[]; timed: boolean}> {
  const [q, k, v] = sequence([1, 1, 9, 4]);
  const profile = await tf.profile(() => flashAttention(q, k, v));
  const time = await tf.time(() => tf.dispose(flashAttention(q, k, v)));
  tf.dispose([q, k, v]);
  return {kernels: profile.kernelNames, timed: time.kernelMs !== undefined};
}

/** Loses the context for good and says what the next call answers. */
export async function callAfterLoss(): Promise<string> {
  const [q, k, v] = sequence([1, 1, 9, 4]);
  await flashAttention(q, k, v).data();
  const gl = context();
  gl.getExtension('WEBGL_lose_context')!.loseContext();
  gl.getError(); // reports the loss, once
  try {
    flashAttention(q, k, v);
    return 'no error';
  } catch (error) {
    return (error as Error).message;
  }
}
