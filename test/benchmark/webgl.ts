/**
 * How fast is attention in fragment shaders against the chain on the same WebGL backend, in real Chromium? With the software
 * driver here; test/benchmark/README.md has a GPU's figures.
 *
 * npm run bench -- webgl [N …] [backward] [longest] [long]       H8 D64; verified against float64 first
 */
import {join} from 'node:path';
import {openPage} from '../harness/browser';
import type {Row} from './webgl_page';

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  const page = await openPage({backend: 'webgl', module: join(__dirname, 'webgl_page.ts')});
  try {
    page.page.on('console', message => console.log(message.text()));
    const {gpu, rows} = await page.call<{gpu: string; rows: Row[]}>(
      'main',
      args.length > 0 ? args : ['512', '1024', 'backward'],
    );
    console.log(gpu);
    console.table(rows.map(({n, name, ms}) => ({N: n, name, ms: Number(ms.toPrecision(4))})));
  } finally {
    await page.close();
  }
}

void main();
