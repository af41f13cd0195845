/** Bundles a TypeScript program with the sources it imports and starts it where its packages and native parts are. */
import {spawnSync} from 'node:child_process';
import {dirname, join, relative} from 'node:path';
import {build} from 'esbuild';
import {buildKernels, kernelsAreFresh} from './build.mjs';
import {gpuEnvironment} from './environment.mjs';
import {cache, root} from './setup/steps.mjs';

/**
 * @param {string} main path of the program's source.
 * @param {string[]} args its arguments.
 * @param {string[]} nodeFlags flags of Node.
 * @returns {Promise<number>} its exit status.
 */
export async function start(main, args, nodeFlags = []) {
  if (!kernelsAreFresh()) await buildKernels();
  const outfile = join(cache, 'programs', relative(root, main).replace(/\.ts$/, '.cjs'));
  await build({
    entryPoints: [main],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    packages: 'external',
    loader: {'.wgsl': 'text', '.glsl': 'text', '.vert': 'text', '.frag': 'text'},
    // A program's files lie beside its source, not beside the bundle.
    define: {__dirname: JSON.stringify(dirname(main))},
    sourcemap: true,
    logLevel: 'error',
  });
  const {status} = spawnSync(process.execPath, ['--enable-source-maps', ...nodeFlags, outfile, ...args], {
    env: {...process.env, ...gpuEnvironment(), TF_CPP_MIN_LOG_LEVEL: '2'},
    stdio: 'inherit',
  });
  return status ?? 1;
}
