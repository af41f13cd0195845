/**
 * Prints the MiB that peakRise measures of 40 that are filled after 100 were freed. A program, since the benchmark asks in a process of
 * its own, too: one that has run much else frees tens of MiB at any time, and hides as much.
 */
import {peakRise} from '../peak_memory';

const MIB = 2 ** 20;
const kept: Uint8Array[] = [];
const fill = (mib: number) => async () => void kept.push(new Uint8Array(mib * MIB).fill(1));

async function main(): Promise<void> {
  await fill(100)();
  kept.pop();
  console.log((await peakRise(fill(40))) / MIB);
}

void main();
