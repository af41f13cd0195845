/** The measurements of webgl.ts, inside a page: main(['1024', …]) for the sizes, H8 D64. Also runs by itself on a GPU machine. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import '@tensorflow/tfjs-backend-webgl';
import type {Tensor, Tensor4D} from '@tensorflow/tfjs-core';
import {flashAttention} from '../../src';
import type {FlashAttentionOptions} from '../../src';
import {forceImplementation} from '../../src/register';
import {attentionCase} from '../cases';
import {checkCase} from '../contract/run_case';
import {chain} from './chain';

const H = 8;
const D = 64;

interface Contestant {
  name: string;
  run: () => Tensor | Tensor[];
}

export interface Row {
  n: number;
  name: string;
  ms: number;
  fastest: number;
  slowest: number;
}

function context(): WebGL2RenderingContext {
  return (tf.backend() as unknown as {gpgpu: {gl: WebGL2RenderingContext}}).gpgpu.gl;
}

/** Waits until everything queued is drawn (gl.finish only flushes in Chromium); a fence's state changes between tasks. */
async function finish(): Promise<void> {
  const gl = context();
  const sync = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0)!;
  gl.flush();
  while (gl.getSyncParameter(sync, gl.SYNC_STATUS) !== gl.SIGNALED) {
    await new Promise<void>(resolve => {
      const {port1, port2} = new MessageChannel();
      port1.onmessage = () => resolve();
      port2.postMessage(0);
    });
  }
  gl.deleteSync(sync);
}

/** Medians of contestants that run in turn, each many times in a row so that the wait weighs little. */
export async function timeInTurn(n: number, contestants: Contestant[], batchMs: number, rounds = 5): Promise<Row[]> {
  const batch = async ({run}: Contestant, count: number): Promise<number> => {
    const begin = performance.now();
    for (let i = 0; i < count; i++) tf.dispose(run());
    await finish();
    return (performance.now() - begin) / count;
  };
  const counts: number[] = [];
  for (const contestant of contestants) {
    await batch(contestant, 1);
    counts.push(Math.max(1, Math.round(batchMs / (await batch(contestant, 2)))));
  }
  const samples = contestants.map(() => [] as number[]);
  for (let round = 0; round < rounds; round++) {
    for (const [c, contestant] of contestants.entries()) samples[c].push(await batch(contestant, counts[c]));
  }
  return contestants.map(({name}, c) => {
    const sorted = samples[c].sort((a, b) => a - b);
    return {n, name, ms: sorted[sorted.length >> 1], fastest: sorted[0], slowest: sorted[sorted.length - 1]};
  });
}

export function inputs(n: number, d = D): [Tensor4D, Tensor4D, Tensor4D] {
  return [1, 2, 3].map(seed => tf.randomNormal([1, H, n, d], 0, 1, 'float32', seed)) as [Tensor4D, Tensor4D, Tensor4D];
}

export async function verify(): Promise<void> {
  forceImplementation('fragments');
  const given = {H: 2, Sq: 530, Sk: 530, D};
  await checkCase(attentionCase('plain', given));
  await checkCase(attentionCase('causal', {...given, options: {causal: true}}));
  await checkCase(attentionCase('float16', {...given, Sk: 600, options: {precision: 'float16'}}));
  await checkCase(attentionCase('bias and mask', {
    ...given, options: {bias: {shape: [2, 530, 530], fill: 'normal'}, mask: {shape: [1, 1, 1, 530], fill: 'random'}},
  })); // prettier-ignore
  console.log('All results match.');
}

async function forwardRows(n: number, batchMs: number, withOptions: boolean): Promise<Row[]> {
  const [q, k, v] = inputs(n);
  const flash = (name: string, options: FlashAttentionOptions): Contestant => ({
    name, run: () => flashAttention(q, k, v, options),
  }); // prettier-ignore
  const contestants = [
    {name: 'chain', run: () => chain(q, k, v)},
    flash('flash', {}),
    flash('flash, causal', {causal: true}),
    flash('flash, float16', {precision: 'float16'}),
  ];
  const extra: Tensor[] = [];
  if (withOptions) {
    const bias = tf.randomNormal([H, n, n]);
    const mask = tf.greater(tf.randomUniform([1, 1, 1, n]), 0.1);
    const [q1, k1, v1] = inputs(n - 3, D - 1);
    extra.push(bias, mask, q1, k1, v1);
    contestants.push(
      flash('flash, dense bias', {bias}),
      flash('flash, mask of keys', {mask}),
      flash('flash, window 128', {window: [128, 0]}),
      flash('flash, dropout', {dropout: 0.1, seed: 1}),
      {name: `flash, N ${n - 3}, D ${D - 1}`, run: () => flashAttention(q1, k1, v1)},
    );
  }
  const rows = await timeInTurn(n, contestants, batchMs);
  tf.dispose([q, k, v, extra]);
  return rows;
}

async function backwardRows(n: number, batchMs: number): Promise<Row[]> {
  const [q, k, v] = inputs(n);
  const gradients = (f: (q: Tensor, k: Tensor, v: Tensor) => Tensor) => tf.grads((a, b, c) => tf.sum(f(a, b, c)));
  const ofChain = gradients((a, b, c) => chain(a as Tensor4D, b as Tensor4D, c as Tensor4D));
  const ofFlash = gradients((a, b, c) => flashAttention(a, b, c));
  const contestants = [
    {name: 'chain, forward and backward', run: () => ofChain([q, k, v])},
    {name: 'flash, forward and backward', run: () => ofFlash([q, k, v])},
  ];
  const rows = await timeInTurn(n, contestants, batchMs);
  tf.dispose([q, k, v]);
  return rows;
}

export async function main(args: string[]): Promise<{gpu: string; rows: Row[]}> {
  await tf.setBackend('webgl');
  const gl = context();
  const unmasked = gl.getExtension('WEBGL_debug_renderer_info');
  const gpu = String(gl.getParameter(unmasked ? unmasked.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  console.log(`${gpu}, ${gl.getParameter(gl.MAX_DRAW_BUFFERS)} draw buffers`);
  await verify();
  const sizes = args.map(Number).filter(n => n > 0);
  const batchMs = args.includes('long') ? 150 : 40;
  const rows: Row[] = [];
  const add = (more: Row[]): void => {
    const base = more[0].ms;
    for (const {n, name, ms, fastest, slowest} of more) {
      console.log(
        `N ${n} ${name}: ${ms.toFixed(3)} ms (${fastest.toFixed(3)}–${slowest.toFixed(3)}), ${(base / ms).toFixed(2)}×`,
      );
    }
    rows.push(...more);
  };
  for (const n of sizes) add(await forwardRows(n, batchMs, n >= 1024 && n <= 2048));
  if (args.includes('backward')) add(await backwardRows(1024, batchMs));
  if (args.includes('longest')) {
    const n = 16384;
    const [q, k, v] = inputs(n);
    add(await timeInTurn(n, [{name: 'flash', run: () => flashAttention(q, k, v)}], 1, 3));
    tf.dispose([q, k, v]);
  }
  return {gpu, rows};
}
