/** One comparison from the options to the result: in this process, or in a page for what Node has not. */
import {openPage} from '../../harness/browser';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {compete} from './arena';
import type {Arena} from './arena';
import {describeMachine, roofsOf, versionOf} from './machine';
import {memoryBy} from './memory';
import {peerOf, startPeer, versionOfPeer} from './peers';
import type {Peer} from './peers';
import {askMemory} from './process_memory';
import type {Backend, Pass, Problem, Result, Roofs, Row} from './result';

export interface CompareOptions {
  backend: Backend;
  sizes: number[];
  passes: Pass[];
  heads: number;
  width: number;
  /** Most samples of a contestant. */
  rounds: number;
  threads: number;
  say(text: string): void;
}

interface Measured extends Arena {
  roofs: Roofs;
  gpu?: string;
}

export async function compare(options: CompareOptions): Promise<Result> {
  const {backend, sizes, passes, heads: H, width: D, threads} = options;
  const problems = passes.flatMap(pass => sizes.map((N): Problem => ({pass, H, N, D})));
  const peer = peerOf(backend);
  const isThere = peer && versionOfPeer(peer) !== null;
  const measured = await (backend === 'webgl' ? inPage(problems, options) : here(problems, options, isThere ? peer : undefined)); // prettier-ignore
  const {rows, leftOut, roofs, gpu} = measured;
  if (peer && !isThere) leftOut.push(`${peer.name}: it is not installed; --peers does it`);
  return {
    command: ['npm run bench --', ...process.argv.slice(2)].join(' '),
    date: new Date().toISOString().slice(0, 10),
    machine: {...describeMachine(), ...(gpu && {gpu})},
    versions: {
      node: process.version,
      '@tensorflow/tfjs-core': versionOf('@tensorflow/tfjs-core'),
      ...(peer && isThere && {[peer.package]: versionOfPeer(peer)!}),
    },
    backend,
    threads,
    roofs,
    memoryBy: memoryBy(backend),
    rows,
    leftOut,
  };
}

async function here(problems: Problem[], options: CompareOptions, peer: Peer | undefined): Promise<Measured> {
  const {backend, rounds, threads, say} = options;
  const roofs = await roofsOf(backend, threads);
  // TensorFlow takes every core; so may its peer.
  const peerThreads = backend === 'tensorflow' ? describeMachine().cores : threads;
  const started = peer && startPeer(peer, peerThreads);
  try {
    const arena = await compete({problems, rounds, roofs, say, peerFor: problem => started?.contestantFor(problem) ?? null}); // prettier-ignore
    say('memory …');
    for (const row of arena.rows) {
      row.megabytes =
        row.contestant === peer?.name
          ? await memoryOfPeer(peer, peerThreads, row)
          : await askMemory({backend, contestant: row.contestant, problem: problemOf(row), threads});
    }
    return {...arena, roofs, gpu: gpuOfDevice()};
  } finally {
    started?.stop();
  }
}

async function memoryOfPeer(peer: Peer, threads: number, row: Row): Promise<number | undefined> {
  if (peer.executionProvider === 'webgpu') return undefined; // it lies on the device
  const fresh = startPeer(peer, threads);
  try {
    return await fresh.megabytes(problemOf(row));
  } finally {
    fresh.stop();
  }
}

async function inPage(problems: Problem[], {backend, rounds, say}: CompareOptions): Promise<Measured> {
  const open = () => openPage({backend: backend as 'webgl', module: join(__dirname, 'page.ts')});
  const {page, call, close} = await open();
  try {
    page.on('console', message => say(message.text()));
    const roofs = await call<Roofs>('roofs');
    const arena = await call<Arena>('arena', problems, rounds, roofs);
    const gpu = await call<string>('gpuOfPage');
    say('memory …');
    for (const row of arena.rows) {
      const fresh = await open();
      row.megabytes = await fresh.call('megabytes', row.contestant, problemOf(row));
      await fresh.close();
    }
    return {...arena, roofs, gpu};
  } finally {
    await close();
  }
}

const problemOf = ({pass, H, N, D}: Row): Problem => ({pass, H, N, D});

/** What WebGPU's device calls itself. */
function gpuOfDevice(): string | undefined {
  const {device} = tf.backend() as unknown as {device?: {adapterInfo?: GPUAdapterInfo}};
  const info = device?.adapterInfo;
  return info && [info.vendor, info.architecture, info.description].filter(Boolean).join(' ');
}
