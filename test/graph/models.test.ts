/** Real exported models against TensorFlow's answers, fused, on every backend. */
import {join} from 'node:path';
import {describeInPage} from '../harness/browser';
import {FULL_TABLE} from '../harness/full_table';
import {describeOn, useBackend} from '../harness/node';
import {EXPECTED} from './expected';
import {judge} from './judge';
import type {Verdict} from './judge';
import {modelNames, packedText, readModelCase} from './model_case';

const names = modelNames();

/** Attention in these is that of another model in the list, so software GPUs do without; all with FULL_TABLE. */
const ALIKE = [
  'albert', 'clip_vision', 'distilbert', 'electra', 'gpt2', 'keras_causal', 'minilm', 'mpnet', 'roberta', 'whisper',
]; // prettier-ignore
const namesOnGpu = FULL_TABLE ? names : names.filter(name => !ALIKE.includes(name));

/** The unfused model's error on cpu. */
const cpuErrors = new Map<string, number>();

const unfusedRuns = (name: string): boolean => EXPECTED[name].unfusedFails === undefined;

/**
 * The unfused model's error; cpu's where the backend cannot run it, and where it is less on tfjs-node: there the unfused model may repeat
 * the very additions that made TensorFlow's answers, rounding errors and all, which says nothing of theirs.
 */
function errorAllowedFrom(name: string, backend: string, plainError: number): number {
  const onCpu = cpuErrors.get(name)!;
  if (Number.isNaN(plainError)) return onCpu;
  return backend === 'tensorflow' ? Math.max(plainError, onCpu) : plainError;
}

function expectVerdict(name: string, backend: string, verdict: Verdict): void {
  const {found, fused, causal, reasons, fusedError, plainError} = verdict;
  expect({found, fused, causal, reasons: fused === found ? reasons : []}).toEqual({
    found: EXPECTED[name].found,
    fused: EXPECTED[name].fused,
    causal: EXPECTED[name].causal,
    reasons: [],
  });
  expect(fusedError).toBeLessThanOrEqual(2 * errorAllowedFrom(name, backend, plainError) + 1e-6);
}

it('knows every model', () => {
  expect(names.length).toBeGreaterThan(0);
  expect(names.filter(name => !(name in EXPECTED))).toEqual([]);
});

describe('on cpu', () => {
  useBackend('cpu');
  it.each(names)('%s', async name => {
    const verdict = await judge(readModelCase(name), unfusedRuns(name));
    cpuErrors.set(name, verdict.plainError);
    expectVerdict(name, 'cpu', verdict);
  });
});

for (const backend of ['wasm', 'tensorflow', 'webgpu'] as const) {
  describeOn(backend, 'models', () => {
    it.each(backend === 'webgpu' ? namesOnGpu : names)('%s', async name =>
      expectVerdict(name, backend, await judge(readModelCase(name), unfusedRuns(name))),
    );
  });
}

/** Node runs all models on webgpu; the browser's own WebGPU repeats some, all of them with FULL_TABLE. */
const pages = {
  webgl: namesOnGpu,
  webgpu: FULL_TABLE ? names : ['bert', 'keras_causal_padding'],
};
for (const backend of ['webgl', 'webgpu'] as const) {
  describeInPage({backend, module: join(__dirname, 'models_page.ts')}, `models on ${backend} in a page`, page => {
    it.each(pages[backend])('%s', async name => {
      expectVerdict(name, backend, await page().call<Verdict>('judgeModel', name, packedText(name), unfusedRuns(name)));
    });
  });
}
