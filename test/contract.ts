/**
 * The suite that every backend answers to, free of any test framework: jest runs it in Node, a page runs it in a browser.
 * The caller selects the backend first; every test leaves no tensor behind.
 */
import {CASES, isPartOf} from './cases';
import type {Selection} from './cases';
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
  selection: Selection;
}

export type {ContractTest};

/** Seeds of the random calls, whose options and widths no other test has: few where pipelines take long to make. */
const SEEDS: Record<Selection, [first: number, count: number]> = {
  all: [0, 40],
  core: [3, 1],
  sample: [0, 0],
  glance: [0, 0],
};

export function contractTests({backend, selection}: Target): ContractTest[] {
  const cases = CASES.filter(c => isPartOf(selection, c.selection));
  const published = selection === 'glance' ? [] : PUBLISHED;
  const table = cases.map(c => ({name: `case: ${c.name}`, run: () => checkCase(c)}));
  return [
    ...table,
    ...published.map(one => ({name: one.c.name, run: () => checkPublished(one)})),
    ...randomTests(...SEEDS[selection]),
    ...hiddenTests(selection),
    ...determinismTests(selection),
    ...tensorTests(backend),
    ...differentiationTests(selection),
    ...mergeTests(selection),
    ...softmaxTests(selection),
    ...errorTests(),
    ...memoryTests(backend, selection),
  ].map(leavingNothing);
}

function randomTests(first: number, count: number): ContractTest[] {
  return Array.from({length: count}, (_, n) => ({
    name: `random call ${first + n}`,
    run: async () => {
      const c = randomCase(first + n);
      try {
        await checkCase(c);
      } catch (error) {
        throw new Error(`${(error as Error).message}\n${describeCase(c)}`, {cause: error});
      }
    },
  }));
}
