/** What every set-up step shares: where things lie, how a child process runs, how progress is shown, one set-up at a time. */
import {execFileSync, spawn} from 'node:child_process';
import {createHash} from 'node:crypto';
import {mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/[/\\]$/, '');
/** Everything the set-up makes beside packages and dist; ignored by git, gone with node_modules. */
export const cache = join(root, 'node_modules/.cache/tfjs-flash-attention');

/** A reason why a part cannot be had on this machine, as opposed to a broken set-up. */
export class Unavailable extends Error {}

/** Runs a program quietly; its output shows only in the error. */
export function execute(program, args, {cwd = root, env = {}, minutes = 10} = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: {...process.env, ...env},
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: minutes * 60_000,
    });
    let output = '';
    child.stdout.on('data', data => (output += data));
    child.stderr.on('data', data => (output += data));
    child.on('error', error => reject(new Error(`${program}: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(output);
      reject(new Error(`${program} ${args.join(' ')} ended with ${signal ?? code}:\n${abridged(output)}`));
    });
  });
}

/** The beginning and the end, one of which says what went wrong. */
function abridged(output) {
  const lines = output.trim().split('\n');
  return (lines.length <= 30 ? lines : [...lines.slice(0, 15), '…', ...lines.slice(-15)]).join('\n');
}

/** Whether a program can be started at all. */
export function canRun(program, args = ['--version']) {
  try {
    execFileSync(program, args, {stdio: 'ignore'});
    return true;
  } catch {
    return false;
  }
}

/** Runs one long step and says what it is, while it lasts, and how long it took. */
export async function step(what, work) {
  const start = Date.now();
  const seconds = () => ((Date.now() - start) / 1000).toFixed(1);
  console.log(`set-up: ${what} …`);
  const tick = setInterval(() => console.log(`set-up: ${what} … ${seconds()} s`), 15_000);
  try {
    const result = await work();
    console.log(`set-up: ${what}: done in ${seconds()} s`);
    return result;
  } finally {
    clearInterval(tick);
  }
}

export function modified(path) {
  return statSync(path, {throwIfNoEntry: false})?.mtimeMs ?? 0;
}

/** Leaves a file that says: this was done from sources as old as `time`. */
export function writeStamp(path, time) {
  mkdirSync(dirname(path), {recursive: true});
  writeFileSync(path, '');
  utimesSync(path, time / 1000, time / 1000);
}

export function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

export function hash(text) {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** Two shells may set up at once: the second waits for the first. A lock whose owner is gone counts as free. */
export async function locked(work) {
  const lock = join(tmpdir(), `tfjs-flash-attention-${hash(root)}.lock`);
  for (let waited = false; ; waited = true) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (ownerIsGone(lock)) rmSync(lock, {recursive: true, force: true});
    else if (!waited) console.log('set-up: waiting for another set-up of this folder');
    await new Promise(resolve => setTimeout(resolve, 200));
  }
  writeFileSync(join(lock, 'pid'), String(process.pid));
  try {
    return await work();
  } finally {
    rmSync(lock, {recursive: true, force: true});
  }
}

function ownerIsGone(lock) {
  try {
    process.kill(Number(readFileSync(join(lock, 'pid'), 'utf8')), 0);
    return false;
  } catch (error) {
    // The owner writes its id right after making the folder: a young lock without one is not abandoned.
    return error.code === 'ESRCH' || (error.code === 'ENOENT' && Date.now() - modified(lock) > 5000);
  }
}
