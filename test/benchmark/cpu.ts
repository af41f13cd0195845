/**
 * How fast are the WebAssembly kernels, and tfjs-node's blocks, against a core's peak and the chain of the same backend?
 *
 * npm run bench -- cpu [cpu | wasm | tensorflow] [sizes | options | masks | threads | decode | backward | long]
 *                                       H4, D 64 unless said; verified against float64 first; ratios of one run.
 *                                       RELAXED=1 has Node 20 enable relaxed SIMD first; CLOCK=cpu counts the process's CPU time, for one thread on a busy machine.
 */
import '@tensorflow/tfjs';
import {join} from 'node:path';
import {setFlagsFromString} from 'node:v8';
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor4D} from '@tensorflow/tfjs-core';
import {instantiateProbe, PEAK_FLOPS} from '../../kernels/wasm/probe';
import {flashAttention} from '../../src';
import type {FlashAttentionOptions} from '../../src';
import {chosenVariant, THREADS_FLAG} from '../../src/backends/wasm_settings';
import {forceImplementation, implementationsOf} from '../../src/register';
import {attentionCase} from '../cases';
import {checkCase} from '../contract/run_case';
import {chain} from './chain';
import {cpuClock, timeInTurn} from './measure';

const H = 4;
const [backend = 'wasm', part] = process.argv.slice(2);
/** Chains slower than this are left out at sizes where one run takes seconds. */
const SLOW_CHAIN: Record<string, number> = {cpu: 512, wasm: 1024};

const clock = process.env.CLOCK === 'cpu' ? cpuClock : () => performance.now();

const peaks: number[] = [];

/** GFLOP/s of multiply-adds on registers alone, on one core, now. */
function measurePeak(): void {
  const probe = instantiateProbe(chosenVariant(), new WebAssembly.Memory({initial: 1, maximum: 1}));
  const rounds = 2e6;
  probe.peak(rounds);
  const begin = clock();
  probe.peak(rounds);
  peaks.push((rounds * PEAK_FLOPS) / (clock() - begin) / 1e6);
}
const median = (x: number[]): number => x.slice().sort((a, b) => a - b)[x.length >> 1];

function inputs(n: number, d: number, heads = H, keyHeads = heads): [Tensor4D, Tensor4D, Tensor4D] {
  const random = (h: number, seed: number) => tf.randomNormal<tf.Rank.R4>([1, h, n, d], 0, 1, 'float32', seed);
  return [random(heads, 1), random(keyHeads, 2), random(keyHeads, 3)];
}

interface Run {
  name: string;
  gflop: number;
  run: () => Tensor | Tensor[];
}

/** Times the runs in turn with the peak between them, and prints a line each. Returns the medians in ms. */
async function compare(title: string, runs: Run[], rounds: number): Promise<number[]> {
  peaks.length = 0;
  const timings = await timeInTurn(
    [
      {name: 'peak', run: measurePeak},
      ...runs.map(({name, run}) => ({
        name,
        run: () => {
          const result = run();
          for (const tensor of [result].flat()) tensor.dataSync();
          tf.dispose(result);
        },
      })),
    ],
    rounds,
    clock,
  );
  const peak = median(peaks);
  console.log(
    `${title}   (peak of a core ${peak.toFixed(1)} GFLOP/s, ${chosenVariant()}, ${tf.env().getNumber(THREADS_FLAG)} threads)`,
  );
  timings.slice(1).forEach(({name, ms, fastest}, n) => {
    const rate = runs[n].gflop / ms * 1e3;
    const best = runs[n].gflop / fastest * 1e3;
    console.log(`  ${name.padEnd(28)} ${ms.toFixed(2).padStart(9)} ms  ${rate.toFixed(1).padStart(6)} GFLOP/s  ${((100 * rate) / peak).toFixed(0).padStart(4)} % of the peak; fastest ${fastest.toFixed(2)} ms, ${best.toFixed(1)} GFLOP/s`);
  }); // prettier-ignore
  return timings.slice(1).map(({ms}) => ms);
}

const flops = (n: number, d: number): number => (4 * H * n * n * d) / 1e9;

async function sizes(): Promise<void> {
  for (const d of [64, 128]) {
    for (const n of [256, 512, 1024, 2048, 4096]) {
      const [q, k, v] = inputs(n, d);
      const runs: Run[] = [
        {name: 'flash', gflop: flops(n, d), run: () => flashAttention(q, k, v)},
        {name: 'flash, causal', gflop: flops(n, d) / 2, run: () => flashAttention(q, k, v, {causal: true})},
      ];
      if (n <= (SLOW_CHAIN[backend] ?? Infinity))
        runs.push({name: 'chain', gflop: flops(n, d), run: () => chain(q, k, v)});
      const [flash, , chainMs] = await compare(`N ${n}, D ${d}`, runs, n > 1024 ? 5 : 9);
      if (chainMs) console.log(`  flash is ${(chainMs / flash).toFixed(2)}× the chain`);
      tf.dispose([q, k, v]);
    }
  }
}

async function options(): Promise<void> {
  const n = 1024;
  const [q, k, v] = inputs(n, 64);
  const [q1, k1, v1] = inputs(1000, 64);
  const [, kGrouped, vGrouped] = inputs(n, 64, H, 1);
  const bias = tf.randomNormal([1, H, n, n]);
  const mask = tf.greater<Tensor>(tf.randomUniform([1, 1, n, n]), 0.3);
  const plain = (name: string, o: FlashAttentionOptions, x = [q, k, v]): Run => ({
    name,
    gflop: flops(x[0].shape[2], 64),
    run: () => flashAttention(x[0], x[1], x[2], o),
  });
  await compare(
    `N ${n}`,
    [
      plain('plain', {}),
      plain('N 1000', {}, [q1, k1, v1]),
      plain('bias [1, H, N, N]', {bias}),
      plain('mask [1, 1, N, N]', {mask}),
      plain('4 heads on 1', {}, [q, kGrouped, vGrouped]),
      plain('softcap', {softcap: 30}),
      plain('ALiBi', {alibiSlopes: [0.5, 0.25, 0.125, 0.0625]}),
      plain('dropout', {dropout: 0.1, seed: 1}),
    ],
    9,
  );
}

/** Against the chain with the same mask added to its scores, and each of the backend's ways by name. */
async function masks(): Promise<void> {
  const names = implementationsOf(backend).map(({name}) => name).slice(0, -1); // prettier-ignore
  const only = process.argv[4];
  for (const [heads, n] of [
    [H, 256],
    [H, 512],
    [H, 1024],
    [H, 2048],
    [8, 128],
    [12, 128],
    [12, 512],
  ]) {
    // prettier-ignore
    const [q, k, v] = inputs(n, 64, heads);
    const padding = tf.tensor(Float32Array.from({length: n}, (_, j) => (j < 0.9 * n ? 0 : -1e4)), [1, 1, 1, n]); // prettier-ignore
    const bias = tf.randomNormal<tf.Rank.R4>([1, heads, n, n]);
    const mask = tf.greater<Tensor4D>(tf.randomUniform([1, 1, n, n]), 0.3);
    const keyLengths = tf.tensor1d([Math.ceil(0.9 * n)], 'int32');
    const added = tf.tidy(() => tf.mul(tf.sub(tf.cast(mask, 'float32'), 1), 1e9));
    const kinds: Array<[string, FlashAttentionOptions, Tensor | undefined]> = [
      ['plain', {}, undefined],
      ['padding [1, 1, 1, N]', {bias: padding}, padding],
      ['keyLengths', {keyLengths}, padding],
      ['mask [1, 1, N, N]', {mask}, added],
      ['bias [1, H, N, N]', {bias}, bias],
    ];
    for (const [kind, given, ofChain] of kinds.filter(([kind]) => !only || kind.startsWith(only))) {
      const run =
        (name: string | null, o: FlashAttentionOptions = given) =>
        () => {
          forceImplementation(name);
          const output = flashAttention(q, k, v, o);
          forceImplementation(null);
          return output;
        };
      const gflop = (4 * heads * n * n * 64) / 1e9;
      const runs = [
        ...names.map(name => ({name, gflop, run: run(name)})),
        {name: 'chain', gflop, run: () => chain(q, k, v, ofChain)},
      ];
      const times = await compare(`${kind}, H ${heads}, N ${n}`, runs, n > 1024 ? 7 : 15);
      const chainMs = times[times.length - 1];
      console.log(`  ${names.map((name, i) => `${name} ${(chainMs / times[i]).toFixed(2)}×`).join(', ')} the chain`);
    }
    tf.dispose([q, k, v, padding, bias, mask, keyLengths, added]);
  }
}

async function threads(): Promise<void> {
  for (const n of [512, 1024, 2048]) {
    const [q, k, v] = inputs(n, 64);
    const on = (count: number): Run => ({
      name: `${count} threads`,
      gflop: flops(n, 64),
      run: () => {
        tf.env().set(THREADS_FLAG, count);
        return flashAttention(q, k, v);
      },
    });
    const [one, two] = await compare(`N ${n}`, [on(1), on(2)], 9);
    console.log(`  two threads are ${(one / two).toFixed(2)}× one`);
  }
}

async function decode(): Promise<void> {
  const n = 4096;
  const q = tf.randomNormal([1, H, 1, 64]);
  const [, k, v] = inputs(n, 64);
  const bytes = 2 * 4 * H * n * 64;
  // As much memory as K and V take, read once and written once.
  const from = new Float32Array(bytes / 4).fill(1);
  const to = new Float32Array(bytes / 4);
  const calls = 20;
  const repeat = (f: () => void) => (): void => {
    for (let call = 0; call < calls; call++) f();
  };
  const timings = await timeInTurn(
    [
      {name: 'copy loop', run: repeat(() => to.set(from))},
      {name: 'flash, Sq 1', run: repeat(() => tf.dispose(readBack(flashAttention(q, k, v))))},
      {name: 'chain, Sq 1', run: repeat(() => tf.dispose(readBack(chain(q as Tensor4D, k, v))))},
    ],
    15,
    clock,
  );
  console.log(`decode, N ${n}`);
  for (const {name, ms, fastest} of timings) {
    const rate = (time: number): string => ((bytes * calls) / time / 1e6).toFixed(1);
    console.log(`  ${name.padEnd(28)} ${(ms / calls).toFixed(3)} ms, reads ${rate(ms)} GB/s; fastest ${(fastest / calls).toFixed(3)} ms, ${rate(fastest)} GB/s`);
  } // prettier-ignore
}

function readBack(x: Tensor): Tensor {
  x.dataSync();
  return x;
}

async function backward(): Promise<void> {
  const n = Number(process.argv[4] ?? (backend === 'cpu' ? 512 : 1024));
  const [q, k, v] = inputs(n, 64);
  const weights = tf.randomNormal([1, H, n, 64]);
  const gradients = (f: (q: Tensor4D, k: Tensor4D, v: Tensor4D) => Tensor) => () =>
    tf.grads((...x: Tensor[]) => tf.sum(tf.mul(f(...(x as [Tensor4D, Tensor4D, Tensor4D])), weights)))([q, k, v]);
  const [flash, chained] = await compare(
    `gradients of q, k and v with the forward pass, N ${n}`,
    [
      {name: 'flash', gflop: 3.5 * flops(n, 64), run: gradients((...x) => flashAttention(...x))},
      {name: 'chain', gflop: 3.5 * flops(n, 64), run: gradients(chain)},
    ],
    5,
  );
  console.log(`  flash is ${(chained / flash).toFixed(2)}× the chain`);
}

async function long(): Promise<void> {
  const [q, k, v] = inputs(16384, 64, 1);
  const peakMegabytes = (): number => process.resourceUsage().maxRSS / 1024;
  tf.dispose(readBack(flashAttention(tf.zeros([1, 1, 64, 64]), tf.zeros([1, 1, 64, 64]), tf.zeros([1, 1, 64, 64]))));
  const before = peakMegabytes();
  tf.dispose(readBack(flashAttention(q, k, v)));
  console.log(`N 16384, H 1: the process's peak grew by ${(peakMegabytes() - before).toFixed(0)} MB`);
}

async function main(): Promise<void> {
  if (process.env.RELAXED) setFlagsFromString('--experimental-wasm-relaxed-simd');
  if (backend === 'wasm') {
    const {setWasmPaths} = await import('@tensorflow/tfjs-backend-wasm');
    setWasmPaths(join(require.resolve('@tensorflow/tfjs-backend-wasm'), '../'));
  }
  if (backend === 'tensorflow') await import('@tensorflow/tfjs-node');
  if (!(await tf.setBackend(backend))) throw new Error(`There is no backend '${backend}'.`);
  if (backend !== 'tensorflow') tf.env().set(THREADS_FLAG, 1);
  const case_ = (name: string, given: Parameters<typeof attentionCase>[1]) => checkCase(attentionCase(name, given));
  await case_('plain', {H: 2, Sq: 100, Sk: 130, D: 64});
  await case_('causal', {H: 2, Sq: 300, Sk: 300, D: 64, options: {causal: true}});
  await case_('decode', {H: 2, Sq: 1, Sk: 300, D: 64});
  console.log(`All results match. Backend ${backend}.`);
  const parts = {sizes, options, masks, threads, decode, backward, long};
  for (const [name, run] of Object.entries(parts)) if (!part || name === part) await run();
}

void main();
