/** By how much a process's resident memory rises while something runs. Linux alone tells, where a process may begin its peak anew. */
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {setTimeout as pause} from 'node:timers/promises';
import {setFlagsFromString} from 'node:v8';
import {runInNewContext} from 'node:vm';

const STATUS = '/proc/self/status';
const RESET = '/proc/self/clear_refs';

export const canTellPeak = (): boolean => existsSync(RESET);

/** Bytes, at the peak of `work` above what was resident before it. */
export async function peakRise(work: () => Promise<unknown>): Promise<number> {
  const before = await settledBytes();
  writeFileSync(RESET, '5');
  await work();
  // What the system counts is exact to some pages a thread.
  return Math.max(0, statusBytes('VmHWM') - before);
}

/** Resident bytes once nothing more is freed: what earlier work left behind would hide as much of the rise. */
async function settledBytes(): Promise<number> {
  let settled = Infinity;
  for (let falls = true; falls;) {
    collectGarbage();
    await pause(100); // array memory is freed after the collection, not in it
    const now = statusBytes('VmRSS');
    falls = now < settled - 2 ** 20;
    settled = Math.min(settled, now);
  }
  return settled;
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

function statusBytes(field: 'VmHWM' | 'VmRSS'): number {
  const [, kilobytes] = new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync(STATUS, 'utf8'))!;
  return 1024 * Number(kilobytes);
}
