/** Memory in Node: a fresh process for each contestant, whose peak Linux lets begin anew just before the run. */
import {fork} from 'node:child_process';
import {once} from 'node:events';
import {bytesCreatedOnDevice} from '../../contract/allocations';
import {canTellPeak, peakRise} from '../../peak_memory';
import {isOnGpu, megabytesOfFirstRun} from './memory';
import type {MeasureBytes} from './memory';
import type {Backend, Problem} from './result';

export interface MemoryQuestion {
  backend: Backend;
  contestant: string;
  problem: Problem;
  threads: number;
}

/** Asks a process of its own. */
export async function askMemory(question: MemoryQuestion): Promise<number | undefined> {
  const child = fork(process.argv[1], [JSON.stringify(question)], {
    env: {...process.env, BENCHMARK_ROLE: 'memory'},
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const [answer] = (await Promise.race([once(child, 'message'), once(child, 'exit')])) as [unknown];
  child.kill();
  return (answer as {megabytes?: number} | null)?.megabytes;
}

/** That process; the backend is loaded. */
export async function answerMemory({backend, contestant, problem}: MemoryQuestion): Promise<void> {
  const measure = isOnGpu(backend) ? bytesCreatedOnDevice : peakOfProcess;
  process.send!({megabytes: await megabytesOfFirstRun(backend, contestant, problem, measure)});
}

/** Undefined where the system does not tell. */
export const peakOfProcess: MeasureBytes = async work => (canTellPeak() ? peakRise(work) : undefined);
