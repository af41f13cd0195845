/** Pictures of the page for the documentation, taken in a headless Chromium on its software GPU. */
import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import type {BrowserContextOptions} from 'playwright-core';

const FLAGS = [
  '--no-sandbox', '--no-zygote', '--in-process-gpu', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader',
  '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader',
]; // prettier-ignore

const SHOTS: Array<[string, BrowserContextOptions]> = [
  ['light', {viewport: {width: 1160, height: 1000}, colorScheme: 'light'}],
  ['dark', {viewport: {width: 1160, height: 1000}, colorScheme: 'dark'}],
  ['phone', {viewport: {width: 390, height: 844}, colorScheme: 'light'}],
];

const PATIENCE = {timeout: 120_000};
const STEPS = 3;

export async function takeScreenshots(address: string, folder: string): Promise<void> {
  const {CHROMIUM_PATH} = process.env;
  if (!CHROMIUM_PATH) throw new Error('Chromium is not set up: run node .ci/setup.mjs chromium.');
  const {chromium} = await import('playwright-core');
  const browser = await chromium.launch({executablePath: CHROMIUM_PATH, args: FLAGS});
  mkdirSync(folder, {recursive: true});
  try {
    for (const [name, options] of SHOTS) {
      const page = await browser.newPage(options);
      await page.goto(`${address}?backend=wasm&N=512&H=4&D=64`);
      const done = page.getByRole('status').filter({hasText: 'Done'});
      await page.getByRole('button', {name: 'Run'}).click();
      await done.waitFor(PATIENCE);
      await page.getByLabel('N from 64 to').selectOption('1024');
      await page.getByRole('button', {name: 'Draw the curves'}).click();
      await page.getByRole('button', {name: 'Cancel'}).waitFor();
      await done.waitFor(PATIENCE);
      await page.getByLabel('flash attention').check();
      for (let n = 0; n < STEPS; n++) await page.getByRole('button', {name: 'Next tile'}).click();
      await page.evaluate(() => scrollTo(0, 0));
      const path = join(folder, `playground-${name}.png`);
      await page.screenshot({path, fullPage: true});
      console.log(path);
      await page.close();
    }
  } finally {
    await browser.close();
  }
}
