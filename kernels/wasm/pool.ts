/**
 * Threads over one shared memory: workers that sleep on an Atomics word, in Node (worker_threads) and on cross-origin isolated
 * pages. The caller works too, so a call never waits for a worker to start; every item is computed the same way whoever takes
 * it, so the number of threads changes no bit. Workers do not keep a process alive.
 */
import type * as WorkerThreads from 'node:worker_threads';
import {Arena, MAX_PAGES} from './memory';
import {instantiate, kernelModule} from './module';
import type {KernelName, Kernels, Variant} from './module';
import {WORKER_SOURCE} from './pool_worker';

/** Slots of the control block, int32. */
const SLOTS = {
  GENERATION: 0,
  OPEN: 1,
  NEXT: 2,
  ITEMS: 3,
  KERNEL: 4,
  PROBLEM: 5,
  SCRATCH: 6,
  SCRATCH_BYTES: 7,
  THREADS: 8,
  FAILED: 9,
  /** From here on, per worker: 1 while it may be running items. */
  FIRST_WORKER: 16,
} as const;

const KERNEL_NAMES: KernelName[] = ['forward', 'decode', 'merge', 'delta', 'gradQueries', 'gradKeys', 'gradBias'];
const MAX_WORKERS = 255;
/** A worker that has said nothing for this long after all other work was done is given up. */
const PATIENCE_MS = 10_000;

interface StartedWorker {
  terminate(): unknown;
}

/** Starts a worker; null where this place has none. */
type StartWorker = (data: object, onEnd: () => void) => StartedWorker;

export class Pool {
  readonly arena: Arena;
  /** For the tests. */
  readonly control = new Int32Array(new SharedArrayBuffer(4 * (SLOTS.FIRST_WORKER + MAX_WORKERS)));
  readonly workers: StartedWorker[] = [];
  broken = false;
  private readonly kernels: Kernels;

  constructor(
    private readonly variant: Variant,
    private readonly start: StartWorker,
    memory: WebAssembly.Memory,
    private readonly patienceMs = PATIENCE_MS,
  ) {
    this.arena = new Arena(memory);
    this.kernels = instantiate(variant, memory);
  }

  /** Runs every item on up to `threads` threads, this one included. @throws Error where a worker failed or fell silent. */
  run(
    threads: number,
    kernel: KernelName,
    items: number,
    problem: number,
    scratch: number,
    scratchBytes: number,
  ): void {
    const {control} = this;
    this.grow(threads - 1);
    const set = (slot: keyof typeof SLOTS, value: number): number => Atomics.store(control, SLOTS[slot], value);
    set('NEXT', 0);
    set('ITEMS', items);
    set('KERNEL', KERNEL_NAMES.indexOf(kernel));
    set('PROBLEM', problem);
    set('SCRATCH', scratch);
    set('SCRATCH_BYTES', scratchBytes);
    set('THREADS', threads);
    set('FAILED', 0);
    set('OPEN', 1);
    Atomics.add(control, SLOTS.GENERATION, 1);
    Atomics.notify(control, SLOTS.GENERATION);

    const own = this.kernels[kernel];
    const started = performance.now();
    try {
      for (let item; (item = Atomics.add(control, SLOTS.NEXT, 1)) < items;) own(problem, scratch, item);
    } finally {
      set('OPEN', 0);
      this.awaitWorkers(performance.now() - started);
    }
    const failed = Atomics.load(control, SLOTS.FAILED);
    if (failed > 0) throw this.fail(`worker ${failed - 1} of the pool failed in kernel '${kernel}'`);
  }

  terminate(): void {
    this.broken = true;
    this.workers.splice(0).forEach(worker => void worker.terminate());
  }

  private grow(workers: number): void {
    for (let worker = this.workers.length; worker < Math.min(workers, MAX_WORKERS); worker++) {
      const {control} = this;
      const {memory} = this.arena;
      const data = {module: kernelModule(this.variant, true), memory, control, worker, kernelNames: KERNEL_NAMES};
      this.workers.push(this.start(data, () => void (this.broken = true)));
    }
  }

  /** Waits until no worker runs an item of this call; it took the caller `callMs` to do its own share. */
  private awaitWorkers(callMs: number): void {
    const deadline = performance.now() + Math.max(this.patienceMs, 10 * callMs);
    for (let worker = 0; worker < this.workers.length; worker++) {
      const slot = SLOTS.FIRST_WORKER + worker;
      for (let spins = 0; Atomics.load(this.control, slot) === 1; spins++) {
        if (spins < SPINS) continue;
        if (canWait) Atomics.wait(this.control, slot, 1, 10);
        if (performance.now() > deadline)
          throw this.fail(`worker ${worker} of the pool stopped in the middle of a call`);
      }
    }
  }

  private fail(what: string): Error {
    this.terminate();
    return new Error(`flashAttention: ${what}; its result is lost. The next call starts new workers.`);
  }
}

/** Looks at a worker's word before sleeping on it: most are done within microseconds. */
const SPINS = 1000;
/** A page's main thread may not sleep on Atomics. */
const canWait = typeof document === 'undefined';

const pools = new Map<Variant, Pool>();

/** The pool of a variant, a new one where the last broke; null where memory cannot be shared or workers cannot be started. */
export function sharedPool(variant: Variant): Pool | null {
  const start = workerStarter();
  if (!start) return null;
  let pool = pools.get(variant);
  if (!pool || pool.broken) {
    pool?.terminate();
    const memory = sharedMemory();
    if (!memory) return null;
    pools.set(variant, (pool = new Pool(variant, start, memory)));
  }
  return pool;
}

/** Threads that this place offers: its cores, or 1. */
export function defaultThreads(): number {
  if (!workerStarter()) return 1;
  const inNode = nodeModule('node:os') as {availableParallelism(): number} | undefined;
  return inNode ? inNode.availableParallelism() : navigator.hardwareConcurrency || 1;
}

function sharedMemory(): WebAssembly.Memory | null {
  // The maximum is address space that is reserved at once; small devices refuse 4 GiB.
  for (const maximum of [MAX_PAGES, MAX_PAGES / 4, MAX_PAGES / 16]) {
    try {
      return new WebAssembly.Memory({initial: 1, maximum, shared: true});
    } catch {
      // Try less.
    }
  }
  return null;
}

/** A module of Node, without an import that a bundler for browsers would have to resolve. */
function nodeModule(name: string): unknown {
  const host = globalThis as {process?: {getBuiltinModule?(id: string): unknown}};
  return host.process?.getBuiltinModule?.(name);
}

const sourceOfWorker = (): string =>
  Object.entries(SLOTS).map(([name, slot]) => `const ${name} = ${slot};`).join('') + WORKER_SOURCE; // prettier-ignore

function workerStarter(): StartWorker | null {
  if (typeof SharedArrayBuffer !== 'function' || typeof WebAssembly !== 'object') return null;
  const threads = nodeModule('node:worker_threads') as typeof WorkerThreads | undefined;
  if (threads) {
    return (workerData, onEnd) => {
      const worker = new threads.Worker(sourceOfWorker(), {eval: true, workerData});
      worker.unref();
      worker.on('error', onEnd);
      worker.on('exit', onEnd);
      return worker;
    };
  }
  if (typeof Worker !== 'function' || !globalThis.crossOriginIsolated) return null;
  return (data, onEnd) => {
    const url = URL.createObjectURL(new Blob([sourceOfWorker()], {type: 'text/javascript'}));
    const worker = new Worker(url);
    worker.onerror = onEnd;
    worker.postMessage(data);
    return worker;
  };
}
