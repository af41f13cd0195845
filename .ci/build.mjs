/**
 * Builds, where sources are newer: first what the sources import and git does not hold (the compiled WebAssembly kernels),
 * then what is published. `npm run build` does both; the set-up and the tests call the parts.
 */
import {existsSync, mkdirSync, readFileSync, readdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath, pathToFileURL} from 'node:url';
import {gzipSync} from 'node:zlib';
import {cache, execute, locked, modified, root, step, writeStamp} from './setup/steps.mjs';

/** The owner's script exports `build()`, which writes into generated/. */
const kernelsScript = join(root, 'kernels/wasm/build.mjs');
const kernelsOutput = join(root, 'kernels/wasm/generated');
const kernelsStamp = join(cache, 'kernels.stamp');
const bundlesStamp = join(cache, 'bundles.stamp');
const dist = join(root, 'dist');

export function kernelsAreFresh() {
  if (!existsSync(kernelsScript)) return true;
  return existsSync(kernelsOutput) && newest([join(root, 'kernels/wasm')], kernelsOutput) <= modified(kernelsStamp);
}

export async function buildKernels() {
  mkdirSync(kernelsOutput, {recursive: true});
  const start = Date.now();
  const {build} = await import(pathToFileURL(kernelsScript));
  await step('compiling the WebAssembly kernels', build);
  writeStamp(kernelsStamp, start);
}

/** For what starts without the set-up: other shells may be doing the same. */
export async function ensureKernels() {
  if (!kernelsAreFresh()) await locked(async () => kernelsAreFresh() || buildKernels());
}

const BUNDLE_SOURCES = ['src', 'kernels', 'package.json', 'tsconfig.json', 'rollup.config.mjs', '.ci/shaders'].map(
  path => join(root, path),
);

export function bundlesAreFresh() {
  return existsSync(join(dist, 'index.js')) && newest(BUNDLE_SOURCES) <= modified(bundlesStamp);
}

export async function buildBundles() {
  const start = Date.now();
  await step('bundling modules and types', async () => {
    rmSync(dist, {recursive: true, force: true});
    const rollup = join(root, 'node_modules/rollup/dist/bin/rollup');
    // Cycles of imports are a matter of test/architecture; every other warning is a broken build.
    const strict = ['--failAfterWarnings', '--filterLogs', '!code:CIRCULAR_DEPENDENCY'];
    await execute(process.execPath, [rollup, '--config', 'rollup.config.mjs', ...strict], {env: {NO_COLOR: '1'}});
  });
  writeStamp(bundlesStamp, start);
  const script = readFileSync(join(dist, 'tfjs-flash-attention.min.js'));
  const kilobytes = bytes => `${(bytes / 1000).toFixed(1)} kB`;
  console.log(
    `set-up: the op as one script: ${kilobytes(script.length)}, gzipped ${kilobytes(gzipSync(script).length)}`,
  );
}

/** When the newest of the files was written; folders count, too, since a deletion shows in theirs. */
function newest(paths, except) {
  return Math.max(
    0,
    ...paths.map(path => (path === except ? 0 : Math.max(modified(path), newest(inside(path), except)))),
  );
}

function inside(path) {
  try {
    return readdirSync(path).map(name => join(path, name));
  } catch {
    return [];
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await ensureKernels();
    await locked(buildBundles);
  } catch (error) {
    console.error(`build: ${error.message}`);
    process.exit(1);
  }
}
