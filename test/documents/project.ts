/** A reader's project: the built package is installed there, models lie beside, and the pages' programs run in it. */
import {execFile} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {promisify} from 'node:util';
import {build} from 'esbuild';
import type {Browser} from 'playwright-core';
import {launch} from '../harness/browser';
import {readModelCase} from '../graph/model_case';
import {readKerasModel} from '../layers/keras_models';
import {ROOT} from './code_blocks';

interface Artifacts {
  modelTopology?: object | ArrayBuffer;
  weightSpecs?: object[];
  weightData?: ArrayBuffer | ArrayBuffer[];
}

export class Project {
  readonly folder: string;
  private browser: Promise<Browser> | null = null;

  constructor() {
    const cache = join(ROOT, 'node_modules/.cache/tfjs-flash-attention');
    mkdirSync(cache, {recursive: true});
    this.folder = mkdtempSync(join(cache, 'reader-'));
    mkdirSync(join(this.folder, 'node_modules'));
    mkdirSync(join(this.folder, 'public'));
    symlinkSync(ROOT, join(this.folder, 'node_modules/tfjs-flash-attention'), 'dir');
    this.addModel('web_model', readModelCase('bert').artifacts);
    this.addModel('keras_model', readKerasModel('cross').artifacts);
  }

  /** Standard output of a program of Node. */
  async run(file: string, ...args: string[]): Promise<string> {
    const env = {...process.env, TF_CPP_MIN_LOG_LEVEL: '2'};
    const {stdout} = await promisify(execFile)(process.execPath, [file, ...args], {cwd: this.folder, env});
    return stdout;
  }

  runScript(code: string): Promise<string> {
    const file = join(this.folder, `script.${/^import /m.test(code) ? 'mjs' : 'cjs'}`);
    writeFileSync(file, code);
    return this.run(file);
  }

  async runShell(command: string): Promise<string> {
    const {stdout} = await promisify(execFile)('sh', ['-c', command], {cwd: this.folder});
    return stdout;
  }

  /** A page's console, once its scripts have run. @throws Error with what the page complained about. */
  async runPage(html: string): Promise<string> {
    this.browser ??= launch();
    const page = await (await this.browser).newPage();
    const printed: string[] = [];
    const complaints: string[] = [];
    page.on('pageerror', error => complaints.push(error.message));
    page.on('console', message => (message.type() === 'error' ? complaints : printed).push(message.text()));
    await page.route('http://localhost/**', route => {
      const path = new URL(route.request().url()).pathname;
      if (path === '/') return route.fulfill({contentType: 'text/html', body: `<!doctype html>${html}`});
      const file = join(ROOT, path.replace('/node_modules/tfjs-flash-attention/', '/'));
      return existsSync(file)
        ? route.fulfill({path: file})
        : route.fulfill({status: path === '/favicon.ico' ? 204 : 404});
    });
    await page.goto('http://localhost/');
    // What keeps a script from finishing is among the complaints.
    await page.waitForFunction('globalThis.unfinished === undefined').catch((error: unknown) => {
      complaints.push(String(error));
    });
    await page.close();
    if (complaints.length > 0) throw new Error(complaints.join('\n'));
    return printed.join('\n');
  }

  /** A module as a bundler makes a page's script of it. */
  async runInBrowser(code: string): Promise<string> {
    const {outputFiles} = await build({
      stdin: {contents: code, resolveDir: this.folder, loader: 'js'},
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      logLevel: 'error',
    });
    const script = `<script>unfinished = true</script><script type="module">${outputFiles[0].text.replaceAll('</script', '<\\/script')}
      delete globalThis.unfinished</script>`;
    return this.runPage(script);
  }

  async remove(): Promise<void> {
    if (this.browser) await (await this.browser).close();
    rmSync(this.folder, {recursive: true});
  }

  private addModel(name: string, {weightData, weightSpecs, ...rest}: Artifacts): void {
    const folder = join(this.folder, name);
    mkdirSync(folder);
    writeFileSync(join(folder, 'weights.bin'), new Uint8Array(weightData as ArrayBuffer));
    const weightsManifest = [{paths: ['weights.bin'], weights: weightSpecs}];
    writeFileSync(join(folder, 'model.json'), JSON.stringify({...rest, weightsManifest}));
  }
}
