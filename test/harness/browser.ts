/** A real headless Chromium with one page in which tests run: WebGL and WebGPU on the software driver, wasm and cpu. */
import {build} from 'esbuild';
import {readFileSync} from 'node:fs';
import {basename, dirname, join, resolve} from 'node:path';
import {chromium, type Browser, type Page, type Route} from 'playwright-core';
import {describeWith} from './node';
import type * as PageScript from './page';

/** In the page, where `evaluate` runs. */
declare const harness: typeof PageScript.harness;

/** ANGLE makes each pipeline once, at its first draw: made in parts first, and once more when linked, it takes a half longer. */
const ANGLE_FEATURES_OFF = ['supportsGraphicsPipelineLibrary', 'warmUpPipelineCacheAtLink'];

const FLAGS = [
  '--no-sandbox', '--no-zygote', '--in-process-gpu', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader',
  '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', `--disable-angle-features=${ANGLE_FEATURES_OFF.join()}`,
  `--${process.env.DAWN_ON_SWIFTSHADER}`,
]; // prettier-ignore

const ORIGIN = 'http://localhost';
const WASM_FILES = dirname(require.resolve('@tensorflow/tfjs-backend-wasm'));
const SHADERS = {'.wgsl': 'text', '.glsl': 'text', '.vert': 'text', '.frag': 'text'} as const;

export interface PageOptions {
  backend: PageScript.BrowserBackend;
  /** The file whose exported functions `call` reaches; bundled with everything it imports. */
  module: string;
  /** Served with COOP and COEP, so that the page may share memory between threads. */
  crossOriginIsolated?: boolean;
}

export interface TestPage {
  /**
   * Calls an exported function of the page's module; arguments and result are copied as structured data, typed arrays
   * included. Rejects with the function's error, or with what the page, the console or the GPU complained about meanwhile.
   */
  call<T>(name: string, ...args: unknown[]): Promise<T>;
  /** The page itself, for what `call` does not cover. */
  page: Page;
  close(): Promise<void>;
}

/** Opens Chromium, the page and the backend in it. */
export async function openPage(options: PageOptions): Promise<TestPage> {
  const [script, browser] = await Promise.all([bundle(options.module), launch()]);
  try {
    const page = await browser.newPage();
    await page.route(`${ORIGIN}/**`, route => serve(route, script, options.crossOriginIsolated ?? false));
    const complaints = watch(page);
    await page.goto(`${ORIGIN}/`);
    const run = async (work: Promise<PageScript.Outcome>) => {
      const result = await work;
      const texts = 'error' in result ? [result.error, ...complaints.splice(0)] : complaints.splice(0);
      if (texts.length > 0) throw new Error(texts.join('\n'));
      return (result as {value: unknown}).value;
    };
    await run(page.evaluate(backend => harness.start(backend), options.backend));
    return {
      page,
      call: async <T>(name: string, ...args: unknown[]) =>
        (await run(page.evaluate(call => harness.call(call.name, call.args), {name, args}))) as T,
      close: () => browser.close(),
    };
  } catch (error) {
    await browser.close();
    throw error;
  }
}

/** A suite with one page, opened before its first test; `page()` gives it to the tests. */
export function describeInPage(options: PageOptions, title: string, body: (page: () => TestPage) => void): void {
  describeWith(['chromium'], `${title} on ${options.backend} in Chromium`, () => {
    let page: TestPage;
    beforeAll(async () => {
      page = await openPage(options);
    });
    afterAll(() => page?.close());
    body(() => page);
  });
}

/** Starts Chromium on the software driver. */
export function launch(): Promise<Browser> {
  return chromium.launch({executablePath: process.env.CHROMIUM_PATH, args: FLAGS});
}

async function bundle(module: string): Promise<string> {
  const {outputFiles} = await build({
    entryPoints: [resolve('test', 'harness', 'page.ts')],
    alias: {'page-module': module},
    bundle: true,
    write: false,
    format: 'iife',
    target: 'es2022',
    loader: SHADERS,
    logLevel: 'silent',
  });
  return outputFiles[0].text;
}

/** The page, its script and tfjs's wasm files: there is no server, requests are answered before they leave the browser. */
function serve(route: Route, script: string, isolated: boolean): Promise<void> {
  const {pathname} = new URL(route.request().url());
  const headers: Record<string, string> = isolated
    ? {'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp'}
    : {};
  if (pathname === '/') {
    const body = '<!doctype html><meta charset="utf-8"><script src="/page.js"></script>';
    return route.fulfill({headers, contentType: 'text/html', body});
  }
  if (pathname === '/page.js') return route.fulfill({headers, contentType: 'text/javascript', body: script});
  if (pathname.startsWith('/wasm/')) {
    const body = readFileSync(join(WASM_FILES, basename(pathname)));
    return route.fulfill({headers, contentType: 'application/wasm', body});
  }
  return route.fulfill({status: pathname === '/favicon.ico' ? 204 : 404});
}

/** Collects what goes wrong beside the calls: uncaught errors, console errors, WebGL's and WebGPU's complaints, a crash. */
function watch(page: Page): string[] {
  const complaints: string[] = [];
  page.on('pageerror', error => complaints.push(`page: ${error.stack ?? error.message}`));
  page.on('crash', () => complaints.push('page: crashed'));
  page.on('console', message => {
    const isGpu = /GL_INVALID|WebGL: |CONTEXT_LOST|uncaptured/i.test(message.text());
    if (message.type() === 'error' || isGpu) complaints.push(`console: ${message.text()}`);
  });
  return complaints;
}
