/** The script file in a real page beside tfjs's own: forward, gradient and `explain` on the page's backends, loaded once or twice. */
import {join} from 'node:path';
import type {Browser, Page} from 'playwright-core';
import {launch} from './harness/browser';
import {describeWith} from './harness/node';

const ROOT = join(__dirname, '..');

/** Runs in the page: the op against matMul, softmax, matMul; the largest differences of output and dq. */
const COMPARE = `backend => tf.setBackend(backend).then(() => tf.tidy(() => {
  const {flashAttention, explain} = tfFlashAttention;
  const [q, k, v] = [1, 2, 3].map(seed => tf.randomNormal([2, 3, 70, 20], 0, 1, 'float32', seed));
  const chain = q => tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(20))), v);
  const op = q => flashAttention(q, k, v);
  const gradient = f => tf.grad(q => tf.sum(tf.square(f(q))))(q);
  const difference = (a, b) => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0];
  return {
    backend: explain(q, k, v).backend,
    output: difference(op(q), chain(q)),
    gradient: difference(gradient(op), gradient(chain)),
    version: tf.version.tfjs,
  };
}))`;

interface Comparison {
  backend: string;
  output: number;
  gradient: number;
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
    await page.addScriptTag({path: join(ROOT, 'node_modules/@tensorflow/tfjs/dist/tf.min.js')});
    await addScript();
  });
  afterAll(() => browser?.close());

  it.each(['webgl', 'cpu'])('agrees with the chain on %s, and differentiates', async backend => {
    const comparison: Comparison = await page.evaluate(`(${COMPARE})('${backend}')`);
    expect(comparison).toMatchObject({backend, version: '4.22.0'});
    expect(comparison.output).toBeLessThan(4e-6);
    expect(comparison.gradient).toBeLessThan(2e-5);
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
