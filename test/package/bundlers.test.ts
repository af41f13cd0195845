/** The published modules through the bundlers that pages are built with, in real Chromium: the WebAssembly kernels serve backend wasm. */
import {spawnSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {basename, dirname, join} from 'node:path';
import {build} from 'esbuild';
import type {Browser} from 'playwright-core';
import webpack from 'webpack';
import {launch} from '../harness/browser';
import {describeWith} from '../harness/node';

const ROOT = join(__dirname, '../..');
const WASM_FILES = dirname(require.resolve('@tensorflow/tfjs-backend-wasm'));
const ORIGIN = 'http://localhost';

/** What a page's author writes; `result` is what it shows. */
const PROGRAM = `
  import * as tf from '@tensorflow/tfjs-core';
  import '@tensorflow/tfjs-backend-cpu';
  import {setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
  import {explain, flashAttention} from 'tfjs-flash-attention';

  globalThis.result = (async () => {
    setWasmPaths('${ORIGIN}/');
    await tf.setBackend('wasm');
    const [q, k, v] = [1, 2, 3].map(seed => tf.randomNormal([1, 2, 150, 24], 0, 1, 'float32', seed));
    const outputs = [];
    for (const backend of ['wasm', 'cpu']) {
      await tf.setBackend(backend);
      outputs.push({by: explain(q, k, v).implementation, values: await flashAttention(q, k, v, {causal: true}).data()});
    }
    const difference = outputs[0].values.reduce((most, x, n) => Math.max(most, Math.abs(x - outputs[1].values[n])), 0);
    return {by: outputs.map(({by}) => by), backend: tf.getBackend(), difference};
  })();
`;

/** Where a bundler finds packages: this one by its name, the rest of what is installed. */
const modulesFor = (folder: string): string[] => [join(folder, 'node_modules'), join(ROOT, 'node_modules')];

type Bundle = (main: string, folder: string) => Promise<string>;

const withEsbuild: Bundle = async (main, folder) => {
  const outfile = join(folder, 'esbuild.js');
  await build({
    entryPoints: [main],
    outfile,
    bundle: true,
    minify: true,
    format: 'iife',
    nodePaths: modulesFor(folder),
    logLevel: 'silent',
  });
  return outfile;
};

const withWebpack: Bundle = (main, folder) =>
  new Promise((resolve, reject) => {
    const config: webpack.Configuration = {
      mode: 'development', // minifying tfjs takes ten seconds
      devtool: false,
      target: 'web',
      entry: main,
      output: {path: folder, filename: 'webpack.js'},
      resolve: {modules: modulesFor(folder)},
    };
    webpack(config, (error, stats) => {
      if (error ?? stats!.hasErrors()) reject(error ?? new Error(stats!.toString('errors-only')));
      else resolve(join(folder, 'webpack.js'));
    });
  });

describeWith(['chromium'], 'a page bundled by', () => {
  let folder: string;
  let browser: Browser;

  beforeAll(async () => {
    const {status, stderr} = spawnSync('node', ['.ci/setup.mjs', 'kernels', 'build'], {cwd: ROOT, encoding: 'utf8'});
    if (status !== 0) throw new Error(stderr);
    folder = mkdtempSync(join(tmpdir(), 'bundlers-'));
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(ROOT, join(folder, 'node_modules', 'tfjs-flash-attention'));
    writeFileSync(join(folder, 'main.mjs'), PROGRAM);
    browser = await launch();
  }, 120_000);
  afterAll(async () => {
    await browser.close();
    rmSync(folder, {recursive: true});
  });

  it.each([
    ['esbuild', withEsbuild],
    ['webpack', withWebpack],
  ])('%s: the WebAssembly kernels serve wasm and cpu', async (_, bundle) => {
    const script = await bundle(join(folder, 'main.mjs'), folder);
    const page = await browser.newPage();
    const complaints: string[] = [];
    page.on('pageerror', error => complaints.push(error.message));
    page.on('console', message => complaints.push(message.text()));
    await page.route(`${ORIGIN}/**`, route => {
      const file = basename(new URL(route.request().url()).pathname);
      if (file === '') return route.fulfill({contentType: 'text/html', body: '<!doctype html>'});
      if (!file.endsWith('.wasm')) return route.fulfill({status: 404});
      return route.fulfill({contentType: 'application/wasm', body: readFileSync(join(WASM_FILES, file))});
    });
    await page.goto(`${ORIGIN}/`);
    await page.addScriptTag({path: script});
    expect(await page.evaluate('result')).toEqual({
      by: ['simd', 'simd'],
      backend: 'cpu',
      difference: expect.any(Number) as number,
    });
    expect(await page.evaluate('result.then(({difference}) => difference < 1e-6)')).toBe(true);
    expect(complaints).toEqual([]);
    await page.close();
  });
});
