/**
 * How fast is onnxruntime's MultiHeadAttention beside flashAttention on the same backend's kind, on as many threads?
 *
 * npm run bench -- onnxruntime FOLDER [web | node] [threads] [N]
 *                          FOLDER/node_modules has onnxruntime-web or -node; H4 D64; the outputs are compared first; the two
 *                          processes take turns. web against tfjs's wasm, node against tfjs-node.
 */
import '@tensorflow/tfjs';
import {fork} from 'node:child_process';
import {once} from 'node:events';
import {createRequire} from 'node:module';
import {join, resolve} from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor4D} from '@tensorflow/tfjs-core';
import {flashAttention} from '../../src';
import {THREADS_FLAG} from '../../src/backends/wasm_settings';
import {attentionModel} from './compare/onnx_model';
import {cpuClock} from './measure';

const H = 4;
const D = 64;
const [folder, kind = 'node', threadsText = '1', only] = process.argv.slice(2);
const threads = Number(threadsText);
const sizes = only ? [Number(only)] : [256, 512, 1024, 2048, 4096];

/** Numbers that both processes make alike. */
function numbers(n: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({length: n * H * D}, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** The part of onnxruntime that is used here. */
interface Runtime {
  env: {wasm: {numThreads: number}};
  Tensor: new (type: 'float32', data: Float32Array, dims: number[]) => {data: Float32Array};
  InferenceSession: {
    create(bytes: Uint8Array, options: object): Promise<{run(feeds: object): Promise<{output: {data: Float32Array}}>}>;
  };
}

async function child(): Promise<void> {
  const require = createRequire(resolve(folder, 'index.js'));
  const runtime = require(`onnxruntime-${kind}`) as Runtime;
  if (kind === 'web') runtime.env.wasm.numThreads = threads;
  const options = {intraOpNumThreads: threads, interOpNumThreads: 1};
  process.on('message', ({n, rounds}: {n: number; rounds: number}) => void answer(n, rounds));
  let session: Awaited<ReturnType<Runtime['InferenceSession']['create']>>;
  let size = 0;
  async function answer(n: number, rounds: number): Promise<void> {
    try {
      if (size !== n)
        session = await runtime.InferenceSession.create(attentionModel({pass: 'forward', H, N: n, D}), options);
      size = n;
      const feeds = Object.fromEntries(
        ['q', 'k', 'v'].map((name, i) => [name, new runtime.Tensor('float32', numbers(n, i + 1), [1, n, H * D])]),
      );
      const first: Float32Array = (await session.run(feeds)).output.data;
      const times: Time[] = [];
      for (let round = 0; round < rounds; round++) times.push(await timed(async () => void (await session.run(feeds))));
      process.send!({times, first: Array.from(first.subarray(0, 1000))});
    } catch (error) {
      process.send!({error: String(error)});
    }
  }
}

interface Time {
  wall: number;
  cpu: number;
}

async function timed(f: () => Promise<void> | void): Promise<Time> {
  const [wall, cpu] = [performance.now(), cpuClock()];
  await f();
  return {wall: performance.now() - wall, cpu: cpuClock() - cpu};
}

const median = (x: number[]): number => x.sort((a, b) => a - b)[x.length >> 1];

async function parent(): Promise<void> {
  if (kind === 'web') {
    const {setWasmPaths} = await import('@tensorflow/tfjs-backend-wasm');
    setWasmPaths(join(require.resolve('@tensorflow/tfjs-backend-wasm'), '../'));
  } else {
    await import('@tensorflow/tfjs-node');
  }
  await tf.setBackend(kind === 'web' ? 'wasm' : 'tensorflow');
  tf.env().set(THREADS_FLAG, threads);
  const peer = fork(process.argv[1], process.argv.slice(2), {env: {...process.env, ONNXRUNTIME_CHILD: '1'}});
  for (const n of sizes) {
    const [q, k, v] = [1, 2, 3].map(seed => tf.tensor4d(numbers(n, seed), [1, n, H, D]));
    const [qh, kh, vh] = [q, k, v].map(x => tf.transpose<Tensor4D>(x, [0, 2, 1, 3]));
    const own: Time[] = [];
    const theirs: Time[] = [];
    for (let turn = -1; turn < 3; turn++) {
      peer.send({n, rounds: n > 1024 ? 2 : 5});
      const [answer] = (await once(peer, 'message')) as [{times: Time[]; first: number[]; error?: string}];
      if (answer.error) {
        console.log(`N ${n}: onnxruntime-${kind}: ${answer.error}`);
        break;
      }
      const output = flashAttention(q, k, v, {layout: 'BSHD'});
      const values = output.dataSync();
      const error = answer.first.reduce((max, x, i) => Math.max(max, Math.abs(x - values[i])), 0);
      if (!(error < 1e-5)) throw new Error(`N ${n}: the outputs differ by ${error}`);
      output.dispose();
      if (turn < 0) continue;
      theirs.push(...answer.times);
      for (let round = 0; round < (n > 1024 ? 2 : 5); round++) {
        own.push(await timed(() => {
          const result = flashAttention(qh, kh, vh);
          result.dataSync();
          result.dispose();
        })); // prettier-ignore
      }
    }
    if (own.length > 0) {
      const [a, b] = [own, theirs].map(times => [median(times.map(t => t.wall)), median(times.map(t => t.cpu))]);
      const text = (x: number[]): string => `${x[0].toFixed(1)} ms (${x[1].toFixed(1)} of CPU)`;
      console.log(`N ${n}: flash ${text(a)}, onnxruntime-${kind} ${text(b)}: ${(b[0] / a[0]).toFixed(2)}× as fast, ${(b[1] / a[1]).toFixed(2)}× by CPU time`); // prettier-ignore
    }
    tf.dispose([q, k, v, qh, kh, vh]);
  }
  peer.kill();
}

void (process.env.ONNXRUNTIME_CHILD ? child() : parent());
