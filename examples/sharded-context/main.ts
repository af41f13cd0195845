/**
 * A context too long for one worker: its keys are split over worker threads, each attends to its part, and `mergeAttention`
 * joins the parts by their log-sum-exps. The same works over machines: what travels is output and lse, never keys.
 */
import {Worker, isMainThread, parentPort, workerData} from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs-core';
import {Command, InvalidArgumentError} from 'commander';
import {flashAttention, flashAttentionWithLse, mergeAttention} from 'tfjs-flash-attention';
import type {AttentionWithLse} from 'tfjs-flash-attention';
import {formatTable} from '../../src/cli/table';
import {BACKENDS, loadBackend} from '../sentence-similarity/backends';

interface Sizes {
  heads: number;
  queries: number;
  dim: number;
}

interface Options extends Sizes {
  keys: number;
  workers: number;
  backend: string;
  seed: number;
}

/** Keys [from, to) of every head, as its own tensor [heads, to − from, dim]. */
interface Shard extends Sizes {
  backend: string;
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  from: number;
  to: number;
}

interface PartResult {
  output: Float32Array;
  lse: Float32Array;
  milliseconds: number;
}

const TOLERANCE = 1e-5;

function integerFrom(least: number, most: number) {
  return (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`It must be an integer from ${least} to ${most}.`);
    }
    return value;
  };
}

function readOptions(): Options {
  return new Command('sharded-context')
    .description('Attention of a few queries over a long context, split over worker threads and merged.')
    .option('--keys <n>', 'keys of the context', integerFrom(1, 2 ** 22), 131072)
    .option('--workers <n>', 'worker threads', integerFrom(1, 64), 4)
    .option('--queries <n>', 'queries, the last of the context', integerFrom(1, 4096), 32)
    .option('--heads <n>', 'heads', integerFrom(1, 64), 2)
    .option('--dim <n>', 'width of a head', integerFrom(1, 512), 64)
    .option('--seed <n>', 'seed of the random input', integerFrom(0, 2 ** 31), 1)
    .option('--backend <name>', BACKENDS.join(', '), 'wasm')
    .allowExcessArguments(false)
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))
    .parse()
    .opts<Options>();
}

/** Shared memory: each worker reads its keys where they lie. */
function sharedNumbers(n: number, seed: number): Float32Array {
  const numbers = new Float32Array(new SharedArrayBuffer(4 * n));
  let state = seed >>> 0;
  for (let i = 0; i < n; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // a linear congruential generator (Numerical Recipes)
    numbers[i] = 4 * (state / 2 ** 32 - 0.5);
  }
  return numbers;
}

/** Causal attention of the queries, which end the context, over the shard's keys. */
function attendShard({q, k, v, from, to, heads, queries, dim}: Shard, keys: number): AttentionWithLse {
  const part = (x: Float32Array): tf.Tensor => {
    const own = new Float32Array(heads * (to - from) * dim);
    for (let h = 0; h < heads; h++) {
      own.set(x.subarray((h * keys + from) * dim, (h * keys + to) * dim), h * (to - from) * dim);
    }
    return tf.tensor4d(own, [1, heads, to - from, dim]);
  };
  const query = tf.tensor4d(q, [1, heads, queries, dim]);
  return flashAttentionWithLse(query, part(k), part(v), {causal: true, queryOffset: keys - queries - from});
}

async function serveShard(shard: Shard): Promise<void> {
  await loadBackend(shard.backend);
  const start = performance.now();
  const {output, lse} = attendShard(shard, shard.k.length / (shard.heads * shard.dim));
  const result: PartResult = {
    output: (await output.data()) as Float32Array,
    lse: (await lse.data()) as Float32Array,
    milliseconds: performance.now() - start,
  };
  parentPort!.postMessage(result);
}

function run(shard: Shard): Promise<PartResult> {
  return new Promise((resolve, reject) => {
    const env = {...process.env, FLASH_ATTENTION_THREADS: '1'}; // the shards are the parallelism
    const worker = new Worker(__filename, {workerData: shard, env});
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', code => reject(new Error(`a worker ended with ${code} before its answer`)));
  });
}

async function main(): Promise<number> {
  const {keys, workers, backend, seed, ...sizes} = readOptions();
  const {heads, queries, dim} = sizes;
  if (!BACKENDS.includes(backend)) throw new Error(`Unknown backend '${backend}'; known are ${BACKENDS.join(', ')}.`);
  await loadBackend(backend);
  const q = sharedNumbers(heads * queries * dim, seed);
  const [k, v] = [sharedNumbers(heads * keys * dim, seed + 1), sharedNumbers(heads * keys * dim, seed + 2)];
  const bounds = Array.from({length: workers + 1}, (_, n) => Math.round((n * keys) / workers));
  const shards = Array.from({length: workers}, (_, n): Shard => ({
    ...sizes,
    backend,
    q,
    k,
    v,
    from: bounds[n],
    to: bounds[n + 1],
  }));

  const start = performance.now();
  const parts = await Promise.all(shards.map(run));
  const merged = parts
    .map(({output, lse}): AttentionWithLse => ({
      output: tf.tensor(output, [1, heads, queries, dim]),
      lse: tf.tensor(lse, [1, heads, queries]),
    }))
    .reduce((a, b) => mergeAttention(a, b));
  const together = (await merged.output.data()) as Float32Array;
  const milliseconds = performance.now() - start;

  const startOfOne = performance.now();
  const whole = (x: Float32Array): tf.Tensor => tf.tensor4d(x, [1, heads, keys, dim]);
  const one = flashAttention(tf.tensor4d(q, [1, heads, queries, dim]), whole(k), whole(v), {causal: true});
  const alone = (await one.data()) as Float32Array;
  const millisecondsOfOne = performance.now() - startOfOne;
  // NaN where either has one.
  const difference = together.reduce(
    (most, x, n) => (Math.abs(x - alone[n]) <= most ? most : Math.abs(x - alone[n])),
    0,
  );

  const rows = shards.map(({from, to}, n) => [String(n + 1), `${from} … ${to - 1}`, parts[n].milliseconds.toFixed(0)]);
  console.log(formatTable(['worker', 'keys', 'ms'], rows));
  console.log(`\n${keys} keys, ${queries} queries, ${heads} heads of ${dim}, backend ${backend}`);
  console.log(
    `${workers} workers with their start, and the merge: ${milliseconds.toFixed(0)} ms; one call: ${millisecondsOfOne.toFixed(0)} ms`,
  );
  console.log(`max |difference|: ${difference.toExponential(1)} (at most ${TOLERANCE})`);
  return difference <= TOLERANCE ? 0 : 1;
}

if (isMainThread) {
  main().then(
    status => process.exit(status),
    (error: unknown) => {
      console.error(`sharded-context: ${(error as Error).message.split('\n')[0]}`);
      process.exit(/^Unknown backend/.test((error as Error).message) ? 2 : 1);
    },
  );
} else {
  serveShard(workerData as Shard).catch((error: unknown) => {
    throw error;
  });
}
