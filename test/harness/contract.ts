/** Runs the contract of test/contract.ts under jest: each of its tests is one of jest's, in Node or in a browser page. */
import {join} from 'node:path';
import {contractTests, type Target} from '../contract';
import {describeInPage} from './browser';
import {describeOn, type NodeBackend} from './node';
import type {BrowserBackend} from './page';

/** Set by `npm run test:full`. */
const FULL_TABLE = process.env.FULL_TABLE === '1';

/** The whole table where it takes seconds; on a software GPU, whose pipelines take long to make, the short selection. */
function casesOnNode(backend: NodeBackend): Target['cases'] {
  return FULL_TABLE || backend !== 'webgpu' ? 'all' : 'core';
}

export function contractOnNode(backend: NodeBackend, cases = casesOnNode(backend)): void {
  describeOn(backend, 'contract', () => {
    for (const {name, run} of contractTests({backend, cases})) it(name, run);
  });
}

/** The short selection of cases, unless the full table is asked for. */
export function contractInPage(backend: BrowserBackend): void {
  const target: Target = {backend, cases: FULL_TABLE ? 'all' : 'core'};
  describeInPage({backend, module: join(__dirname, 'contract_page.ts')}, 'contract', page => {
    for (const {name} of contractTests(target)) it(name, () => page().call('runContractTest', target, name));
  });
}
