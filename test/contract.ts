/**
 * The suite that every backend answers to, free of any test framework: jest runs it in Node, a page runs it in a browser.
 * The caller selects the backend first; every test leaves no tensor behind.
 */
import {CASES} from './cases';
import type {ContractTest} from './contract/contract_test';
import {leavingNothing} from './contract/contract_test';
import {determinismTests} from './contract/determinism';
import {differentiationTests} from './contract/differentiation';
import {errorTests} from './contract/errors';
import {hiddenTests} from './contract/hidden';
import {memoryTests} from './contract/memory';
import {mergeTests} from './contract/merge';
import {checkCase, checkPublished} from './contract/run_case';
import {softmaxTests} from './contract/softmax';
import {tensorTests} from './contract/tensors';
import {PUBLISHED} from './published';
import {describeCase, randomCase} from './random_cases';

/** Where the suite runs. */
export interface Target {
  /** tfjs's name of the backend. */
  backend: string;
  /** 'core' runs a short selection of everything, for slow places. */
  cases: 'all' | 'core';
}

export type {ContractTest};

export function contractTests(target: Target): ContractTest[] {
  const isShort = target.cases === 'core';
  const cases = CASES.filter(c => !isShort || c.core);
  const table = cases.map(c => ({name: `case: ${c.name}`, run: () => checkCase(c)}));
  return [
    ...table,
    ...PUBLISHED.map(published => ({name: published.c.name, run: () => checkPublished(published)})),
    ...randomTests(isShort ? 10 : 40),
    ...hiddenTests(isShort),
    ...determinismTests(isShort),
    ...tensorTests(target.backend),
    ...differentiationTests(isShort),
    ...mergeTests(isShort),
    ...softmaxTests(isShort),
    ...errorTests(),
    ...memoryTests(target.backend, isShort),
  ].map(leavingNothing);
}

function randomTests(count: number): ContractTest[] {
  return Array.from({length: count}, (_, seed) => ({
    name: `random call ${seed}`,
    run: async () => {
      const c = randomCase(seed);
      try {
        await checkCase(c);
      } catch (error) {
        throw new Error(`${(error as Error).message}\n${describeCase(c)}`, {cause: error});
      }
    },
  }));
}
