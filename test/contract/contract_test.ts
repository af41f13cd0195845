/** What one test of the contract is, and the checks that need no tolerance. */
import * as tf from '@tensorflow/tfjs-core';

export interface ContractTest {
  name: string;
  /** Rejects, saying what is wrong, where the contract is broken. */
  run(): Promise<void>;
}

/** Throws unless it holds. */
export function check(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(message);
}

/** The message that `work` throws. */
export function messageOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('expected an error, but nothing was thrown');
}

/** The same test, which also fails when it leaves tensors behind. */
export function leavingNothing({name, run}: ContractTest): ContractTest {
  return {
    name,
    run: async () => {
      const before = tf.memory().numTensors;
      await run();
      const left = tf.memory().numTensors - before;
      check(left === 0, `${name}: leaves ${left} tensors behind`);
    },
  };
}
