/**
 * Runs jest in the environment that the devices need. Arguments go to jest.
 *
 * node .ci/test.mjs [--full] [file …] [-t name]     --full: the whole table of cases in the browser, too
 */
import {spawnSync} from 'node:child_process';
import {join} from 'node:path';
import {ensureKernels} from './build.mjs';
import {gpuEnvironment} from './environment.mjs';
import {root} from './setup/steps.mjs';

await ensureKernels();
const args = process.argv.slice(2).filter(arg => arg !== '--full');
const env = {...process.env, ...gpuEnvironment(), TF_CPP_MIN_LOG_LEVEL: '2'};
if (process.argv.includes('--full')) env.FULL_TABLE = '1';

const jest = join(root, 'node_modules/jest/bin/jest.js');
const {status} = spawnSync(process.execPath, [jest, ...args], {cwd: root, env, stdio: 'inherit'});
process.exit(status ?? 1);
