/** Every kernel of the backend by its name, on tfjs's own device or on one with all features: the contract's table. */
import {forceImplementation} from '../../src/register';
import {contractTests} from '../contract';
import {describeWith, useBackend} from '../harness/node';
import {useFullDevice} from './full_device';

const isFull = process.env.FULL_TABLE === '1';

/** What a kernel alone decides: numbers, and what is hidden or NaN. The rest is the backend's, tested once with the kernel it prefers. */
const isOfKernel = (name: string): boolean => name.startsWith('case: ') || /hidden|NaN/.test(name);

function contractOf(variant: string): void {
  beforeAll(() => forceImplementation(variant));
  afterAll(() => forceImplementation(null));
  for (const {name, run} of contractTests({backend: 'webgpu', cases: isFull ? 'all' : 'core'})) {
    // Argument errors reach no kernel.
    if (isFull ? !name.startsWith('error: ') : isOfKernel(name)) it(name, run);
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
