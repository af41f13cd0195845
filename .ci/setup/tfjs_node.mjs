/**
 * tfjs-node: its own install script where the files it downloads can be reached, else TensorFlow's library and headers out
 * of the Python wheel (from whatever registry pip is configured for) and the binding built from the package's source.
 */
import {existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {dirname, join} from 'node:path';
import {Unavailable, cache, canRun, execute, readJson, root, step} from './steps.mjs';

/** The newest TensorFlow whose C API still has every symbol that the binding of tfjs-node 4.22 links. */
const WHEEL = 'tensorflow-cpu==2.15.1';
const WHEEL_TAGS = ['--python-version', '3.11', '--platform', 'manylinux_2_17_x86_64'];

const folder = join(root, 'node_modules/@tensorflow/tfjs-node');
const stamp = join(folder, '.prepared');
const wanted = () => `${readJson(join(folder, 'package.json'))?.version} ${process.platform}-${process.arch}`;

export function tfjsNodeIsReady() {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted();
}

export async function prepareTfjsNode() {
  if (!(await ownInstall())) await fromWheel();
  await step('trying tfjs-node', tryOut);
  writeFileSync(stamp, wanted());
}

const tryOut = () =>
  execute(process.execPath, ['-e', `require('@tensorflow/tfjs-node').tensor([1]).square().dataSync()`], {
    env: {TF_CPP_MIN_LOG_LEVEL: '2'},
  });

/** True where the package's own script did it. */
async function ownInstall() {
  const {host} = readJson(join(folder, 'package.json')).binary;
  try {
    await fetch(host, {method: 'HEAD', signal: AbortSignal.timeout(5000)});
  } catch {
    return false;
  }
  try {
    await step('installing tfjs-node by its own script', async () => {
      await execute('npm', ['rebuild', '@tensorflow/tfjs-node', '--ignore-scripts=false']);
      await tryOut();
    });
    return true;
  } catch (error) {
    console.log(`set-up: that failed (${error.message.split('\n')[0]}); taking the Python wheel instead`);
    return false;
  }
}

async function fromWheel() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Unavailable(`its download is out of reach, and the wheel route is for linux-x64 only`);
  }
  const python = ['python3', 'python'].find(name => canRun(name, ['-m', 'pip', '--version']));
  if (!python) throw new Unavailable('its download is out of reach, and there is no pip to fetch TensorFlow with');
  for (const tool of ['make', 'g++']) {
    if (!canRun(tool)) throw new Unavailable(`its download is out of reach, and there is no ${tool} to build it with`);
  }
  const wheels = join(cache, 'wheel');
  rmSync(wheels, {recursive: true, force: true});
  mkdirSync(wheels, {recursive: true});
  await step(`downloading ${WHEEL} (207 MB)`, async () => {
    const options = ['--no-deps', '--only-binary=:all:', '--retries', '2', '--dest', wheels, ...WHEEL_TAGS];
    await execute(python, ['-m', 'pip', 'download', ...options, WHEEL]).catch(error => {
      throw new Unavailable(`pip cannot download ${WHEEL}: ${error.message.trim().split('\n').at(-1)}`);
    });
  });
  await step('unpacking TensorFlow', () => unpack(python, join(wheels, readdirSync(wheels)[0])));
  rmSync(wheels, {recursive: true, force: true});
  await step('building the binding of tfjs-node', build);
}

const UNPACK = `
import shutil, sys, zipfile
from pathlib import Path
wheel, deps = sys.argv[1], Path(sys.argv[2])
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        place = name.removeprefix('tensorflow/')
        if place in ('libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'):
            place = 'lib/' + place
        elif not place.startswith('include/') or name.endswith('/'):
            continue
        target = deps / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as source, open(target, 'wb') as out:
            shutil.copyfileobj(source, out, 1 << 20)
`;

async function unpack(python, wheel) {
  const deps = join(folder, 'deps');
  rmSync(deps, {recursive: true, force: true});
  await execute(python, ['-c', UNPACK, wheel, deps]);
  symlinkSync('libtensorflow_cc.so.2', join(deps, 'lib/libtensorflow.so'));
  symlinkSync('libtensorflow_framework.so.2', join(deps, 'lib/libtensorflow_framework.so'));
}

async function build() {
  const require = createRequire(join(folder, 'package.json'));
  const preGyp = join(dirname(require.resolve('@mapbox/node-pre-gyp/package.json')), 'bin/node-pre-gyp');
  // Node's own headers, where this Node brought them: node-gyp would download them otherwise.
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
  await execute(process.execPath, [preGyp, 'install', '--build-from-source', ...headers], {cwd: folder});
}
