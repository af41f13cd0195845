/** Times contestants with tinybench: warmed up, in a new random order every round, each time as many runs in a row as make a sample long. */
import type {Task} from 'tinybench';
import {randomGenerator} from '../../inputs';
import type {Contestant} from './contestants';

/** Of one run, milliseconds: median and quartiles. */
export interface Spread {
  ms: number;
  lower: number;
  upper: number;
}

/** What a sample takes, about. */
const SAMPLE_MS = 25;
const MOST_RUNS = 200;
/** A GPU clocks low when idle, for some hundred milliseconds after, too: before each sample it works that long untimed. */
const RAMP_MS = 250;
/** What all rounds may take; three there are at least. */
const BUDGET_MS = 25_000;

/** @param warmMs what one run of each takes, warm. */
export async function timeInterleaved(
  contestants: readonly Contestant[],
  warmMs: readonly number[],
  mostRounds: number,
  onGpu: boolean,
): Promise<Spread[]> {
  const {Bench} = await import('tinybench'); // an ES module only
  const bench = new Bench({iterations: 1, time: 0, warmup: false, retainSamples: true, throws: true});
  const samples = new Map<string, number[]>(contestants.map(({name}) => [name, []]));
  const counts = warmMs.map(ms => Math.max(1, Math.min(MOST_RUNS, Math.round(SAMPLE_MS / ms))));
  contestants.forEach(({name, run}, n) => {
    bench.add(name, async () => {
      for (const start = performance.now(); onGpu && performance.now() - start < RAMP_MS - warmMs[n];)
        await run(counts[n]);
      const begin = performance.now();
      const ms = (await run(counts[n])) ?? performance.now() - begin;
      return {overriddenDuration: ms / counts[n]};
    });
  });
  const roundMs = warmMs.reduce((sum, ms, n) => sum + ms * counts[n] + (onGpu ? RAMP_MS : 0), 0);
  const rounds = Math.max(3, Math.min(mostRounds, Math.floor(BUDGET_MS / roundMs)));
  const random = randomGenerator(1);
  for (let round = 0; round < rounds; round++) {
    for (const task of shuffled(bench.tasks, random)) samples.get(task.name)!.push(await sampleOf(task));
  }
  return contestants.map(({name}) => spreadOf(samples.get(name)!));
}

async function sampleOf(task: Task): Promise<number> {
  task.reset();
  const {result} = await task.run();
  if (!('latency' in result)) throw new Error(`'${task.name}' was not timed`);
  return result.latency.samples![0];
}

/** Fisher and Yates. */
function shuffled<T>(list: readonly T[], random: () => number): T[] {
  const result = [...list];
  for (let n = result.length - 1; n > 0; n--) {
    const other = Math.floor(random() * (n + 1));
    [result[n], result[other]] = [result[other], result[n]];
  }
  return result;
}

function spreadOf(samples: number[]): Spread {
  const sorted = samples.slice().sort((a, b) => a - b);
  const at = (part: number): number => sorted[Math.round(part * (sorted.length - 1))];
  return {ms: at(0.5), lower: at(0.25), upper: at(0.75)};
}
