/** Verifies everybody, then times everybody; in Node or in a page, on tfjs's current backend. */
import type {Machine} from '../../../kernels/machines';
import * as tf from '@tensorflow/tfjs-core';
import {fieldOf} from './contestants';
import type {Contestant} from './contestants';
import {isOnGpu} from './memory';
import {flopsOf, nameOf} from './result';
import type {Backend, Problem, Roofs, Row} from './result';
import {timeInterleaved} from './timing';
import type {Spread} from './timing';
import {verifierOf} from './verify';

export interface Arena {
  rows: Row[];
  leftOut: string[];
}

export interface ArenaOptions {
  problems: readonly Problem[];
  /** Most samples of a contestant. */
  rounds: number;
  roofs: Roofs;
  /** A contestant from outside of tfjs; null for a pass that it does not have. */
  peerFor?: (problem: Problem) => Contestant | null;
  say(text: string): void;
}

/** A contestant whose run takes longer is left out, the chain excepted, which the others are measured against. */
const LONGEST_MS = 5000;

/** @throws Error where a contestant's results are not what float64 gives. */
export async function compete({problems, rounds, roofs, peerFor, say}: ArenaOptions): Promise<Arena> {
  const leftOut: string[] = [];
  /** Contestants that cannot do a problem, as `name, problem`. */
  const fallen = new Set<string>();
  const fall = (name: string, problem: Problem, reason: string): void => {
    fallen.add(`${name}, ${nameOf(problem)}`);
    leftOut.push(`${name}, ${nameOf(problem)}: ${reason}`);
  };
  const open = (problem: Problem, machine?: Machine) => {
    const {contestants, dispose} = fieldOf(problem, machine);
    const peer = peerFor?.(problem);
    const all = peer ? [...contestants, peer] : contestants;
    return {able: all.filter(({name}) => !fallen.has(`${name}, ${nameOf(problem)}`)), dispose};
  };

  for (const problem of problems) {
    const {able, dispose} = open(problem);
    await verifyAll(problem, able, fall);
    dispose();
  }
  say('All results match.');

  const rows: Row[] = [];
  for (const problem of problems) {
    say(`${nameOf(problem)} …`);
    const {able, dispose} = open(problem, machineOf(roofs));
    const warm: Array<{contestant: Contestant; ms: number}> = [];
    for (const contestant of able) {
      const ms = await msOfOne(contestant);
      if (ms <= LONGEST_MS || contestant.name === 'chain') warm.push({contestant, ms});
      else fall(contestant.name, problem, `one run takes ${(ms / 1000).toFixed(1)} s`);
    }
    const contestants = warm.map(({contestant}) => contestant);
    const spreads = await timeInterleaved(
      contestants,
      warm.map(({ms}) => ms),
      rounds,
      isOnGpu(tf.getBackend() as Backend),
    );
    dispose();
    rows.push(...rowsOf(problem, contestants, spreads, roofs));
  }
  return {rows, leftOut};
}

/** Whoever cannot do it falls out, and so does a peer that is wrong; on tfjs whoever is wrong ends the run. */
async function verifyAll(
  problem: Problem,
  contestants: Contestant[],
  fall: (name: string, problem: Problem, reason: string) => void,
): Promise<void> {
  const verifier = verifierOf(problem);
  for (const {name, isOutside, unable, output, gradients} of contestants) {
    if (unable) {
      fall(name, problem, unable);
      continue;
    }
    let results: Float32Array[];
    try {
      results = problem.pass === 'backward' ? await gradients!(verifier.cotangent) : [await output()];
    } catch (error) {
      fall(name, problem, (error as Error).message.split('\n')[0]);
      continue;
    }
    try {
      if (problem.pass === 'backward') verifier.gradients(name, results);
      else verifier.output(name, results[0]);
    } catch (error) {
      if (!isOutside) throw error;
      fall(name, problem, `its results are wrong: ${(error as Error).message}`);
    }
  }
}

async function msOfOne({run}: Contestant): Promise<number> {
  await run(1);
  const begin = performance.now();
  return (await run(1)) ?? performance.now() - begin;
}

/** The roofs as `explain` takes a machine. */
export const machineOf = ({gflops, bandwidth, by}: Roofs): Machine => ({
  name: 'as measured',
  flops: gflops * 1e9,
  bandwidth: bandwidth * 1e9,
  bytesPerElement: 4,
  source: by,
});

function rowsOf(problem: Problem, contestants: Contestant[], spreads: Spread[], roofs: Roofs): Row[] {
  const msOf = (wanted: (contestant: Contestant) => boolean): number =>
    Math.min(...spreads.filter((_, n) => wanted(contestants[n])).map(({ms}) => ms));
  const chain = msOf(({name}) => name === 'chain');
  const bestPeer = msOf(({implementation}) => implementation === undefined);
  return contestants.map(({name, implementation, isChosen, predicted}, n) => {
    const {ms} = spreads[n];
    const gflops = flopsOf(problem) / ms / 1e6;
    return {
      ...problem,
      contestant: name,
      implementation,
      isChosen,
      ...spreads[n],
      gflops,
      timesChain: chain / ms,
      timesBestPeer: implementation === undefined ? undefined : bestPeer / ms,
      shareOfPeak: gflops / roofs.gflops,
      predicted,
    };
  });
}
