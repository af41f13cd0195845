/** Every kernel of the backend by its name, on a device with and without the optional features: the contract's table, in full. */
import {forceImplementation} from '../../src/register';
import {contractTests} from '../contract';
import {describeWith, useBackend} from '../harness/node';
import {useFullDevice} from './full_device';

describeWith(['dawn'], 'the plain kernels', () => {
  useBackend('webgpu');
  beforeAll(() => forceImplementation('webgpu-plain'));
  afterAll(() => forceImplementation(null));
  for (const {name, run} of contractTests({backend: 'webgpu', cases: 'all'})) it(name, run);
});

for (const variant of ['webgpu-subgroups', 'webgpu-decode']) {
  describeWith(['dawn'], variant, () => {
    useFullDevice();
    beforeAll(() => forceImplementation(variant));
    afterAll(() => forceImplementation(null));
    for (const {name, run} of contractTests({backend: 'webgpu', cases: 'all'})) it(name, run);
  });
}
