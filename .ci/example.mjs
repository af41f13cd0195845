/**
 * Runs an example: bundles examples/<name>/main.ts with the sources it imports, and starts it where its packages are.
 *
 * node .ci/example.mjs <name> [arguments of the example]
 */
import {spawnSync} from 'node:child_process';
import {existsSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {build} from 'esbuild';
import {buildKernels, kernelsAreFresh} from './build.mjs';
import {gpuEnvironment} from './environment.mjs';
import {cache, root} from './setup/steps.mjs';

const [name, ...args] = process.argv.slice(2);
const folder = join(root, 'examples', name ?? '');
const main = join(folder, 'main.ts');
if (!name || !existsSync(main)) {
  const names = readdirSync(join(root, 'examples')).filter(example => existsSync(join(root, 'examples', example, 'main.ts')));
  console.error(`Usage: node .ci/example.mjs <${names.join(' | ')}> [arguments]`);
  process.exit(2);
}

if (!kernelsAreFresh()) await buildKernels();
const outfile = join(cache, 'examples', `${name}.cjs`);
await build({
  entryPoints: [main],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  packages: 'external',
  loader: {'.wgsl': 'text', '.glsl': 'text', '.vert': 'text', '.frag': 'text'},
  // The example's files lie beside its source, not beside the bundle.
  define: {__dirname: JSON.stringify(folder)},
  sourcemap: true,
  logLevel: 'error',
});
const {status} = spawnSync(process.execPath, ['--enable-source-maps', outfile, ...args], {
  env: {...process.env, ...gpuEnvironment(), TF_CPP_MIN_LOG_LEVEL: '2'},
  stdio: 'inherit',
});
process.exit(status ?? 1);
