/**
 * Chromium and the software Vulkan driver (SwiftShader) that comes with it, unpacked from npm `@sparticuz/chromium`: the
 * driver also serves Dawn (npm `webgpu`), WebGPU in plain Node.
 */
import {existsSync, mkdirSync, renameSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {gpuEnvironment, unpackedChromium} from '../environment.mjs';
import {Unavailable, cache, execute, readJson, root, step} from './steps.mjs';

const version = () => readJson(join(root, 'node_modules/@sparticuz/chromium/package.json'))?.version;
const stamp = join(unpackedChromium, 'version.json');

export function chromiumIsReady() {
  return readJson(stamp)?.version === version();
}

const UNPACK = `
import {writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import chromium from '@sparticuz/chromium';
await chromium.executablePath();
writeFileSync(join(tmpdir(), 'version.json'), JSON.stringify({version: process.argv[1]}));
`;

export async function prepareChromium() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Unavailable('the package @sparticuz/chromium is for linux-x64 only');
  }
  await step('unpacking Chromium and SwiftShader', async () => {
    const fresh = join(cache, 'chromium.new');
    rmSync(fresh, {recursive: true, force: true});
    mkdirSync(fresh, {recursive: true});
    // The package unpacks into the temp folder; the runtime's name makes it unpack the libraries that Chromium needs, too.
    const env = {TMPDIR: fresh, AWS_LAMBDA_JS_RUNTIME: 'nodejs22.x'};
    await execute(process.execPath, ['--input-type=module', '-e', UNPACK, '--', version()], {env});
    rmSync(unpackedChromium, {recursive: true, force: true});
    renameSync(fresh, unpackedChromium);
  });
  await step('trying Chromium', () =>
    execute(join(unpackedChromium, 'chromium'), ['--headless', '--no-sandbox', '--version'], {env: gpuEnvironment()}),
  ).catch(error => {
    rmSync(stamp, {force: true});
    throw new Unavailable(`Chromium does not start here: ${error.message.split('\n').at(-1)}`);
  });
}

const ADAPTER = `
import {create} from 'webgpu';
const adapter = await create([]).requestAdapter();
if (!adapter) throw new Error('no adapter');
process.exit(0);
`;
const dawnStamp = join(unpackedChromium, 'dawn.json');
const dawnVersion = () => readJson(join(root, 'node_modules/webgpu/package.json'))?.version;

export function dawnIsReady() {
  return existsSync(stamp) && readJson(dawnStamp)?.version === dawnVersion();
}

/** Dawn needs nothing but the driver; whether it then finds a device is tried once. */
export async function prepareDawn() {
  if (!chromiumIsReady()) throw new Unavailable('its Vulkan driver comes with Chromium, which is not there');
  await step('trying Dawn', () =>
    execute(process.execPath, ['--input-type=module', '-e', ADAPTER], {env: gpuEnvironment()}),
  ).catch(error => {
    throw new Unavailable(
      `Dawn finds no device: ${error.message.split('\n').find(line => /Error/.test(line)) ?? error}`,
    );
  });
  writeFileSync(dawnStamp, JSON.stringify({version: dawnVersion()}));
}
