/** Timing as every benchmark here does it: contestants in turn, warm, medians, so that a slow moment of the machine hits all. */

export interface Contestant {
  name: string;
  /** One run, to its end: whatever is computed has been computed when it returns. */
  run: () => void | Promise<void>;
}

export interface Timing {
  name: string;
  /** Median, fastest and slowest run, in milliseconds. */
  ms: number;
  fastest: number;
  slowest: number;
}

/** Milliseconds of CPU that the process used: says of a single thread what it needs, whoever else is on the machine. */
export function cpuClock(): number {
  const {user, system} = process.cpuUsage();
  return (user + system) / 1e3;
}

/** Runs each contestant once unmeasured, then `rounds` times in turn. */
export async function timeInTurn(
  contestants: Contestant[],
  rounds: number,
  clock: () => number = () => performance.now(),
): Promise<Timing[]> {
  const samples = contestants.map(() => [] as number[]);
  for (let round = -1; round < rounds; round++) {
    for (const [n, {run}] of contestants.entries()) {
      const begin = clock();
      await run();
      if (round >= 0) samples[n].push(clock() - begin);
    }
  }
  return contestants.map(({name}, n) => {
    const sorted = samples[n].sort((a, b) => a - b);
    return {name, ms: sorted[sorted.length >> 1], fastest: sorted[0], slowest: sorted[sorted.length - 1]};
  });
}

/** Megabytes of array memory that f left behind, garbage included: what it allocated, unless a collection came between. */
export async function arrayMegabytes(f: () => void | Promise<void>): Promise<number> {
  globalThis.gc?.();
  await new Promise(resolve => setTimeout(resolve, 50)); // array memory is freed after the collection, not in it
  const before = process.memoryUsage().arrayBuffers;
  await f();
  return (process.memoryUsage().arrayBuffers - before) / 2 ** 20;
}
