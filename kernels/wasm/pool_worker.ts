/**
 * What a worker of the pool runs, as text: a package in one file has no second file to start a worker from. Names in capitals
 * come in front of it (`pool.ts`): slots of the control block.
 */
export const WORKER_SOURCE = `
'use strict';
const run = ({module, memory, control, worker, kernelNames}) => {
  const kernels = new WebAssembly.Instance(module, {env: {memory}}).exports;
  let seen = 0;
  for (;;) {
    Atomics.wait(control, GENERATION, seen);
    seen = Atomics.load(control, GENERATION);
    // First say "inside", then look whether the call still takes help: the caller closes it first, then looks who is inside.
    Atomics.store(control, FIRST_WORKER + worker, 1);
    if (Atomics.load(control, OPEN) && worker + 1 < Atomics.load(control, THREADS)) {
      const kernel = kernels[kernelNames[Atomics.load(control, KERNEL)]];
      const problem = Atomics.load(control, PROBLEM);
      const scratch = Atomics.load(control, SCRATCH) + (worker + 1) * Atomics.load(control, SCRATCH_BYTES);
      const items = Atomics.load(control, ITEMS);
      try {
        for (let item; (item = Atomics.add(control, NEXT, 1)) < items; ) kernel(problem, scratch, item);
      } catch {
        Atomics.store(control, FAILED, worker + 1);
      }
    }
    Atomics.store(control, FIRST_WORKER + worker, 0);
    Atomics.notify(control, FIRST_WORKER + worker);
  }
};
if (typeof require === 'function') run(require('node:worker_threads').workerData);
else self.onmessage = ({data}) => run(data);
`;
