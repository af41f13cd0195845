/**
 * Compiles the AssemblyScript kernels, once for plain SIMD and once with relaxed SIMD (fused multiply-add), into one file of
 * base64 strings. The file is built, never committed: the build and the tests' start run this where a source is newer.
 */
import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';
import asc from 'assemblyscript/asc';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');

// The memory comes from outside: tfjs's own, or ours. `module.ts` sets whether it is shared, so one binary serves both.
const OPTIONS = [
  '--runtime', 'stub', '--importMemory', '--noExportMemory', '--sharedMemory', '--initialMemory', '1',
  '--maximumMemory', '65536', '--enable', 'simd', '--enable', 'threads', '--noAssert', '-O3', '--disableWarning', '112',
]; // prettier-ignore

async function compile(extra) {
  const folder = mkdtempSync(join(tmpdir(), 'kernels-'));
  try {
    const out = join(folder, 'kernels.wasm');
    const entry = relative(root, join(here, 'assembly/index.ts'));
    const args = [entry, '--baseDir', root, '--outFile', relative(root, out), ...OPTIONS, ...extra];
    const {error, stderr} = await asc.main(args, {});
    if (error) throw new Error(`${error.message}\n${stderr.toString()}`);
    return readFileSync(out);
  } finally {
    rmSync(folder, {recursive: true});
  }
}

export async function build() {
  const simd = await compile([]);
  const relaxed = await compile(['--enable', 'relaxed-simd']);
  mkdirSync(join(here, 'generated'), {recursive: true});
  writeFileSync(
    join(here, 'generated/binaries.ts'),
    `/** Written by kernels/wasm/build.mjs from kernels/wasm/assembly. */\n` +
      `export const SIMD = '${simd.toString('base64')}';\n` +
      `export const RELAXED_SIMD = '${relaxed.toString('base64')}';\n`,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await build();
