/** The implementations that backend `cpu` rarely reaches answer to the same contract: each is made to serve every call. */
import {forceImplementation} from '../../src/register';
import {contractTests} from '../contract';
import {describeOn} from '../harness/node';

const cases = process.env.FULL_TABLE === '1' ? 'all' : 'core';

describe.each(['loops', 'composed'])('served by %s', name => {
  beforeAll(() => forceImplementation(name));
  afterAll(() => forceImplementation(null));

  describeOn('cpu', 'contract', () => {
    // The messages come before any implementation is chosen: they are tested once, with the preferred one.
    const tests = contractTests({backend: 'cpu', cases}).filter(test => !test.name.startsWith('error: '));
    for (const test of tests) it(test.name, test.run);
  });
});
