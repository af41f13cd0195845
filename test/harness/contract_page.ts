/** The contract inside a page: harness/contract.ts names a test, this runs it. */
import {contractTests, type Target} from '../contract';

export async function runContractTest(target: Target, name: string): Promise<void> {
  const test = contractTests(target).find(candidate => candidate.name === name);
  if (!test) throw new Error(`The page has no contract test named '${name}'.`);
  await test.run();
}
