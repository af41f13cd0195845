/** The script file in a real page beside tfjs's own: forward, gradient and `explain` on the page's backends, loaded once or twice. */
import {join} from 'node:path';
import type {Browser, Page} from 'playwright-core';
import {launch} from './harness/browser';
import {describeWith} from './harness/node';

const ROOT = join(__dirname, '..');

/**
 * Runs in the page: a plain call against matMul, softmax, matMul on the backend, and one with every option against backend cpu; the
 * largest differences of outputs and gradients. The script's shaders are packed and their names shortened: here they are compiled.
 */
const COMPARE = `async backend => {
  const {flashAttention, explain} = tfFlashAttention;
  const [B, H, S, D] = [2, 3, 70, 20];
  const tensor = (shape, seed) => tf.randomNormal(shape, 0, 1, 'float32', seed);
  const difference = async (a, b) => (await tf.max(tf.abs(tf.sub(a, b))).data())[0];
  await tf.setBackend(backend);
  const [q, k, v, weights] = [1, 2, 3, 4].map(seed => tensor([B, H, S, D], seed));
  const chain = q => tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(D))), v);
  const plain = q => flashAttention(q, k, v);
  const gradient = f => tf.grad(q => tf.sum(tf.mul(f(q), weights)))(q);
  const result = {
    backend: explain(q, k, v).backend,
    implementation: explain(q, k, v).implementation,
    version: tf.version.tfjs,
    output: await difference(plain(q), chain(q)),
    gradient: await difference(gradient(plain), gradient(chain)),
  };
  const numbers = (size, seed) => tf.randomNormal([size], 0, 1, 'float32', seed).dataSync();
  const every = async backend => {
    await tf.setBackend('cpu');
    const shapes = [[B, H, S, D], [B, H, S, D], [B, H, S, D], [H, S, S], [H]];
    const values = shapes.map((shape, n) => numbers(tf.util.sizeFromShape(shape), n + 1));
    const weights = numbers(B * H * S * D, 6);
    const mask = numbers(B * S * S, 7).map(x => (x > -1 ? 1 : 0));
    const segments = [8, 9].map(seed => Int32Array.from(numbers(B * S, seed), x => (x > 0 ? 1 : 0)));
    await tf.setBackend(backend);
    const options = {
      causal: true, window: [40, 0], softcap: 5, dropout: 0.2, seed: 7,
      alibiSlopes: [0.5, 0.25, 0.125], keyLengths: [70, 50], queryOffset: tf.tensor1d([0, 3], 'int32'),
      mask: tf.tensor(Array.from(mask, Boolean), [B, 1, S, S]),
      segmentIds: {query: tf.tensor(segments[0], [B, S]), key: tf.tensor(segments[1], [B, S])},
    };
    const inputs = values.map((x, n) => tf.tensor(x, shapes[n]));
    const call = (q, k, v, bias, sinks) => flashAttention(q, k, v, {...options, bias, sinks});
    const loss = (...x) => tf.sum(tf.mul(call(...x), tf.tensor(weights, [B, H, S, D])));
    return Promise.all([call(...inputs), ...tf.grads(loss)(inputs)].map(x => x.data()));
  };
  const [actual, expected] = [await every(backend), await every('cpu')];
  result.everyOption = expected.map((x, n) => x.reduce((most, value, at) => Math.max(most, Math.abs(value - actual[n][at])), 0));
  return result;
}`;

interface Comparison {
  backend: string;
  output: number;
  gradient: number;
  /** Of the output and the gradients of q, k, v, bias and sinks. */
  everyOption: number[];
  version: string;
}

describeWith(['chromium'], 'the script tag in Chromium', () => {
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];
  const addScript = () => page.addScriptTag({path: join(ROOT, 'dist/tfjs-flash-attention.min.js')});

  beforeAll(async () => {
    browser = await launch();
    page = await browser.newPage();
    page.on('pageerror', error => complaints.push(error.message));
    page.on('console', message => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    // WebGPU is there for secure pages only.
    await page.route('http://localhost/**', route =>
      route.fulfill({contentType: 'text/html', body: '<!doctype html>'}),
    );
    await page.goto('http://localhost/');
    for (const file of ['tfjs/dist/tf.min.js', 'tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js']) {
      await page.addScriptTag({path: join(ROOT, 'node_modules/@tensorflow', file)});
    }
    await addScript();
  });
  afterAll(() => browser?.close());

  it.each([
    ['webgl', 'fragments'],
    ['webgpu', 'webgpu'],
    ['cpu', 'simd'],
  ])('agrees with the chain on %s, and with cpu on every option', async (backend, implementation) => {
    const comparison: Comparison = await page.evaluate(`(${COMPARE})('${backend}')`);
    expect(comparison).toMatchObject({backend, implementation, version: '4.22.0'});
    expect(comparison.output).toBeLessThan(4e-6);
    expect(comparison.gradient).toBeLessThan(2e-5);
    expect(comparison.everyOption).toHaveLength(6);
    for (const difference of comparison.everyOption) expect(difference).toBeLessThan(1e-4);
  });

  it('registers nothing anew, and without a word, where the page loads it twice', async () => {
    const before = complaints.length;
    const kernels = `tf.getKernelsForBackend('cpu').map(kernel => kernel.kernelFunc)`;
    await page.evaluate(`globalThis.kernelsBefore = ${kernels}`);
    await addScript();
    expect(await page.evaluate(`${kernels}.every((kernel, n) => kernel === kernelsBefore[n])`)).toBe(true);
    expect(complaints.slice(before)).toEqual([]);
  });

  it('leaves the page without a complaint', () => {
    // SwiftShader's driver reports reads of its pixels as slow.
    expect(complaints.filter(text => !text.includes('GPU stall due to ReadPixels'))).toEqual([]);
  });
});
