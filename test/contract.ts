/**
 * The suite that every backend answers to, free of any test framework: jest runs it in Node, a page runs it in a browser.
 * The caller selects the backend first; every test leaves no tensor behind.
 */
import {CASES} from './cases';
import {checkCase} from './contract/run_case';

/** Where the suite runs. */
export interface Target {
  /** tfjs's name of the backend. */
  backend: string;
  /** 'core' runs the short selection of the table, for slow places. */
  cases: 'all' | 'core';
}

export interface ContractTest {
  name: string;
  /** Rejects, saying what is wrong, where the contract is broken. */
  run(): Promise<void>;
}

export function contractTests(target: Target): ContractTest[] {
  const cases = CASES.filter(c => target.cases === 'all' || c.core);
  return [...cases.map(c => ({name: `case: ${c.name}`, run: () => checkCase(c)}))];
}
