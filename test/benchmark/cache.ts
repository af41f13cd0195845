/**
 * Does appending a token to the cache cost the same whatever is cached, and what does a decode step cost by length?
 *
 * npm run bench -- cache [backend: cpu, wasm, tensorflow]
 */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention} from 'tfjs-flash-attention';
import {KVCache} from 'tfjs-flash-attention/layers';
import {formatTable} from '../../src/cli/table';
import {expectClose} from '../closeness';
import {normalNumbers} from '../inputs';
import {loadBackend} from '../../examples/sentence-similarity/backends';

const SIZES = {B: 1, H: 8, D: 64};
const LENGTHS = [64, 256, 1024, 4096];
const ROUNDS = 12;
/** Appends of a round: a whole number of pages, so that every length pays for the same number of new ones. */
const STEPS = 1024;
/** Appends at 4096 may cost this much of those at 64. */
const MOST = 1.5;

const normal = (n: number, seed: number): tf.Tensor =>
  tf.tensor(normalNumbers(SIZES.H * n * SIZES.D, seed), [SIZES.B, SIZES.H, n, SIZES.D]);

async function verify(): Promise<void> {
  const {B, H, D} = SIZES;
  const cache = new KVCache({layers: 1, batch: B, heads: H, headDim: D, capacity: 1024});
  const [k, v, q] = [normal(600, 1), normal(600, 2), normal(1, 3)];
  cache.append(0, k, v);
  expectClose('decode', await cache.attend(q, 0).data(), await flashAttention(q, k, v).data(), 1e-5);
  cache.dispose();
  console.log('All results match.\n');
}

const median = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1];

async function main(): Promise<void> {
  const backend = process.argv[2] ?? 'cpu';
  await loadBackend(backend);
  await verify();
  const {B, H, D} = SIZES;
  const [k, v, q] = [normal(1, 4), normal(1, 5), normal(1, 6)];
  const caches = LENGTHS.map(length => {
    const cache = new KVCache({layers: 1, batch: B, heads: H, headDim: D, capacity: 8192});
    const [keys, values] = [normal(length, 7), normal(length, 8)];
    cache.append(0, keys, values);
    tf.dispose([keys, values]);
    return {length, cache, append: [] as number[], attend: [] as number[]};
  });
  // Lengths take turns, so that whatever else the machine does falls on all of them.
  for (let round = 0; round < ROUNDS + 3; round++) {
    for (const {length, cache, append, attend} of caches) {
      let start = performance.now();
      for (let step = 0; step < STEPS; step++) cache.append(0, k, v);
      const appended = (performance.now() - start) / STEPS;
      start = performance.now();
      const output = cache.attend(q, 0);
      await output.data();
      const attended = performance.now() - start;
      output.dispose();
      cache.truncate(length);
      if (round >= 3) {
        append.push(appended);
        attend.push(attended);
      }
    }
  }
  const rows = caches.map(({length, append, attend}) => [
    String(length),
    (1000 * median(append)).toFixed(1),
    median(attend).toFixed(3),
  ]);
  console.log(`${backend}, B ${B} H ${H} D ${D}, pages of ${caches[0].cache.pageSize}, medians of ${ROUNDS}`);
  console.log(formatTable(['cached', 'append one token, µs', 'attend, ms'], rows));
  const ratio = median(caches[3].append) / median(caches[0].append);
  console.log(`\nAppending at ${LENGTHS[3]} costs ${ratio.toFixed(2)}× that at ${LENGTHS[0]} (at most ${MOST}×).`);
  if (!(ratio <= MOST)) process.exitCode = 1;
}

void main();
