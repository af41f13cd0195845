/**
 * Makes a fresh clone ready: packages, tfjs-node, Chromium, Dawn, the build. Each step is skipped where its result is there,
 * so that a warm run takes a moment. A part that this machine cannot have is recorded with its reason in parts.json, where
 * the test run finds it.
 *
 * node .ci/setup.mjs [packages | tfjs-node | chromium | dawn | kernels | build …]     (all without arguments)
 */
import {mkdirSync, writeFileSync} from 'node:fs';
import {dirname} from 'node:path';
import {buildBundles, buildKernels, bundlesAreFresh, kernelsAreFresh} from './build.mjs';
import {partsFile} from './parts.mjs';
import {chromiumIsReady, dawnIsReady, prepareChromium, prepareDawn} from './setup/chromium.mjs';
import {installPackages, packagesAreReady} from './setup/packages.mjs';
import {Unavailable, locked, readJson} from './setup/steps.mjs';
import {prepareTfjsNode, tfjsNodeIsReady} from './setup/tfjs_node.mjs';

/** Each step waits for the one it needs; what is left runs side by side. */
const STEPS = [
  {name: 'packages', isReady: packagesAreReady, prepare: installPackages},
  {name: 'tfjs-node', isReady: tfjsNodeIsReady, prepare: prepareTfjsNode, optional: true, needs: 'packages'},
  {name: 'chromium', isReady: chromiumIsReady, prepare: prepareChromium, optional: true, needs: 'packages'},
  {name: 'dawn', isReady: dawnIsReady, prepare: prepareDawn, optional: true, needs: 'chromium'},
  {name: 'kernels', isReady: kernelsAreFresh, prepare: buildKernels, needs: 'packages'},
  {name: 'build', isReady: bundlesAreFresh, prepare: buildBundles, needs: 'kernels'},
];

/** Null where the part is there, else the reason why this machine cannot have it. */
async function prepare({isReady, prepare, optional}) {
  try {
    if (!isReady()) await prepare();
    return null;
  } catch (error) {
    if (!optional) throw error;
    return error instanceof Unavailable ? error.message : `its set-up failed: ${error.message}`;
  }
}

async function setUp(steps) {
  const parts = readJson(partsFile) ?? {};
  const runs = new Map();
  for (const wanted of steps) {
    const run = async () => {
      await runs.get(wanted.needs);
      const reason = await prepare(wanted);
      if (reason) console.log(`set-up: ${wanted.name} is not available: ${reason}`);
      if (wanted.optional) parts[wanted.name] = reason;
    };
    runs.set(wanted.name, run());
  }
  const failure = (await Promise.allSettled(runs.values())).find(({status}) => status === 'rejected');
  if (failure) throw failure.reason;
  mkdirSync(dirname(partsFile), {recursive: true});
  writeFileSync(partsFile, `${JSON.stringify(parts, null, 2)}\n`);
}

/** The named steps and what they need, in order; all without names. */
function chosen(names) {
  const unknown = names.find(name => !STEPS.some(step => step.name === name));
  if (unknown) throw new Error(`there is no step '${unknown}', but ${STEPS.map(({name}) => name).join(', ')}`);
  const wanted = new Set(names);
  for (const {name, needs} of STEPS.toReversed()) if (wanted.has(name) && needs) wanted.add(needs);
  return names.length === 0 ? STEPS : STEPS.filter(({name}) => wanted.has(name));
}

try {
  const steps = chosen(process.argv.slice(2));
  const isReady = ({name, isReady, optional}) => isReady() && (!optional || readJson(partsFile)?.[name] === null);
  if (!steps.every(isReady)) await locked(() => setUp(steps));
} catch (error) {
  console.error(`set-up: ${error.message}`);
  process.exit(1);
}
