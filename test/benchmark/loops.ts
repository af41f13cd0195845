/**
 * How fast are the plain loops of backend cpu against the chain of the same backend, and how much memory do they take?
 *
 * npm run bench -- loops [N]            H4 D64; verified against float64 first
 */
import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention} from '../../src';
import {forceImplementation} from '../../src/register';
import {attentionCase} from '../cases';
import {checkCase} from '../contract/run_case';
import {chain} from './chain';
import {arrayMegabytes, timeInTurn} from './measure';

const H = 4;
const D = 64;
const N = Number(process.argv[2] ?? 1024);
const gflop = (4 * H * N * N * D) / 1e9;

async function main(): Promise<void> {
  await tf.setBackend('cpu');
  forceImplementation('loops');
  for (const causal of [false, true]) {
    await checkCase(attentionCase(`loops${causal ? ' causal' : ''}`, {H, Sq: 256, Sk: 256, D, options: {causal}}));
  }
  console.log('All results match.');

  const [q, k, v] = [1, 2, 3].map(seed => tf.randomNormal<tf.Rank.R4>([1, H, N, D], 0, 1, 'float32', seed));
  const run = (f: () => tf.Tensor) => (): void => void f().dispose();
  const timings = await timeInTurn(
    [
      {name: 'chain', run: run(() => chain(q, k, v))},
      {name: 'loops', run: run(() => flashAttention(q, k, v))},
      {name: 'loops, causal', run: run(() => flashAttention(q, k, v, {causal: true}))},
    ],
    5,
  );
  const [chainMs, plainMs, causalMs] = timings.map(({ms}) => ms);
  console.table(
    timings.map(({name, ms, fastest, slowest}) => ({
      name,
      ms: Math.round(ms),
      fastest: Math.round(fastest),
      slowest: Math.round(slowest),
      'GFLOP/s': ((name.includes('causal') ? 0.5 : 1) * gflop * 1e3 / ms).toFixed(2),
    })),
  ); // prettier-ignore
  console.log(`loops : chain ${(chainMs / plainMs).toFixed(2)}×, causal : plain ${(plainMs / causalMs).toFixed(2)}×`);

  for (const n of [1024, 2048, 4096, 8192]) {
    const x = tf.randomNormal([1, 1, n, D]);
    const allocated = await arrayMegabytes(() => void flashAttention(x, x, x).dispose());
    console.log(`N ${n}: allocated ${allocated.toFixed(1)} MB; output ${((n * D * 4) / 2 ** 20).toFixed(1)} MB, scores would be ${((n * n * 4) / 2 ** 20).toFixed(0)} MB`); // prettier-ignore
    x.dispose();
  }
}

void main();
