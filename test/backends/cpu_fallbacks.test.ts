/** The implementations that backend `cpu` rarely reaches answer to the same contract: each is made to serve every call. */
import {forceImplementation} from '../../src/register';
import {contractTests} from '../contract';
import {FULL_TABLE} from '../harness/full_table';
import {describeOn} from '../harness/node';

const glance = new Set(contractTests({backend: 'cpu', selection: 'glance'}).map(({name}) => name));

// What is preferred here, the WebAssembly kernels, is held to all of it by cpu.test.ts.
describe.each([
  ['loops', FULL_TABLE ? 'all' : 'core'],
  ['composed', FULL_TABLE ? 'all' : 'sample'],
] as const)('served by %s', (name, selection) => {
  beforeAll(() => forceImplementation(name));
  afterAll(() => forceImplementation(null));

  describeOn('cpu', 'contract', () => {
    for (const test of contractTests({backend: 'cpu', selection})) {
      // The messages come before any implementation is chosen: they are tested once, with the preferred one.
      if (test.name.startsWith('error: ')) continue;
      // Memory is measured on long sequences and bits are compared over many runs, which take loops and plain ops long.
      if (FULL_TABLE || glance.has(test.name) || !/^(memory|deterministic): /.test(test.name)) it(test.name, test.run);
    }
  });
});
