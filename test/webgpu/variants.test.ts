/** Every kernel of the backend by its name, on tfjs's own device or on one with all features: the contract's table. */
import {forceImplementation} from '../../src/register';
import type {AttentionCase} from '../cases';
import {caseNamed} from '../cases';
import {contractTests} from '../contract';
import {describeWith, useBackend} from '../harness/node';
import {useFullDevice} from './full_device';

const isFull = process.env.FULL_TABLE === '1';

/** What a kernel alone decides: numbers, and what is hidden or NaN. The rest is the backend's, tested once with the kernel it prefers. */
const isOfKernel = (name: string): boolean => name.startsWith('case: ') || /hidden|NaN/.test(name);

/** The kernel for few queries is only chosen for few; what it expands to for more takes a processor minutes to compile. */
const hasFewRows = (name: string): boolean =>
  !name.startsWith('case: ') || rowsOf(caseNamed(name.slice('case: '.length))) <= 16;
const rowsOf = ({Sq, H, Hkv}: AttentionCase): number => (Sq * H) / Hkv;

function contractOf(variant: string): void {
  beforeAll(() => forceImplementation(variant));
  afterAll(() => forceImplementation(null));
  for (const {name, run} of contractTests({backend: 'webgpu', cases: isFull ? 'all' : 'core'})) {
    // Argument errors reach no kernel.
    const isChosen = isOfKernel(name) && (variant !== 'webgpu-decode' || hasFewRows(name));
    if (isFull ? !name.startsWith('error: ') : isChosen) it(name, run);
  }
}

describeWith(['dawn'], 'webgpu-plain', () => {
  useBackend('webgpu');
  contractOf('webgpu-plain');
});

for (const variant of ['webgpu-subgroups', 'webgpu-decode']) {
  describeWith(['dawn'], variant, () => {
    useFullDevice();
    contractOf(variant);
  });
}
