/** Runs the contract of test/contract.ts under jest: each of its tests is one of jest's, in Node or in a browser page. */
import {join} from 'node:path';
import type {Selection} from '../cases';
import {contractTests, type Target} from '../contract';
import {describeInPage} from './browser';
import {FULL_TABLE} from './full_table';
import {describeOn, type NodeBackend} from './node';
import type {BrowserBackend} from './page';

/** The whole table where it takes seconds; on a software GPU, whose pipelines take long to make, the short selection. */
function selectionOnNode(backend: NodeBackend): Selection {
  return FULL_TABLE || backend !== 'webgpu' ? 'all' : 'core';
}

export function contractOnNode(backend: NodeBackend, selection = selectionOnNode(backend)): void {
  describeOn(backend, 'contract', () => {
    for (const {name, run} of contractTests({backend, selection})) it(name, run);
  });
}

/** The short selection, or a shorter one, unless the full table is asked for. */
export function contractInPage(backend: BrowserBackend, short: Selection = 'core'): void {
  const target: Target = {backend, selection: FULL_TABLE ? 'all' : short};
  describeInPage({backend, module: join(__dirname, 'contract_page.ts')}, 'contract', page => {
    for (const {name} of contractTests(target)) it(name, () => page().call('runContractTest', target, name));
  });
}
