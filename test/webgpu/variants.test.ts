/** Every kernel of the backend by its name, on tfjs's own device or on one with all features: the contract's table. */
import {forceImplementation} from '../../src/register';
import {contractTests} from '../contract';
import {describeWith, useBackend} from '../harness/node';
import {useFullDevice} from './full_device';

const cases = process.env.FULL_TABLE === '1' ? 'all' : 'core';

function contractOf(variant: string): void {
  beforeAll(() => forceImplementation(variant));
  afterAll(() => forceImplementation(null));
  for (const {name, run} of contractTests({backend: 'webgpu', cases})) {
    // Argument errors reach no kernel.
    if (!name.startsWith('error: ')) it(name, run);
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
