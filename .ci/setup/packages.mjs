/** `npm ci` where node_modules is missing or is not what the lock file says. */
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {cache, execute, hash, readJson, root, step} from './steps.mjs';

const lockFile = join(root, 'package-lock.json');
const stamp = join(cache, 'lock.json');
const lockHash = () => hash(readFileSync(lockFile));

export function packagesAreReady() {
  if (readJson(stamp)?.hash === lockHash()) return true;
  if (!installedMatchesLock()) return false;
  remember();
  return true;
}

export async function installPackages() {
  await step('npm ci', () => execute('npm', ['ci', '--no-audit', '--no-fund']));
  remember();
}

function remember() {
  mkdirSync(cache, {recursive: true});
  writeFileSync(stamp, JSON.stringify({hash: lockHash()}));
}

/** By content, as `npm install` of one package leaves it: the times of both files say little after a checkout. */
function installedMatchesLock() {
  const installed = readJson(join(root, 'node_modules/.package-lock.json'))?.packages;
  if (!installed) return false;
  return Object.entries(readJson(lockFile).packages).every(
    ([path, {version, optional}]) => path === '' || (installed[path] ? installed[path].version === version : optional),
  );
}
