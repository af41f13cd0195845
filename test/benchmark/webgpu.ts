/**
 * How fast is attention on WebGPU, by GPU timestamps, beside tfjs's chain in the same run? Verifies first.
 *
 * npm run bench -- webgpu [small] [sections]    needs a GPU that Dawn finds; `small` shrinks every size, to try the script on a
 * processor. Sections: forward widths options backward calls softmax long decode; default all.
 */
import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor4D} from '@tensorflow/tfjs-core';
import {flashAttention, onlineSoftmax} from '../../src';
import type {FlashAttentionOptions} from '../../src';
import {chain} from './chain';
import {openGpu} from './webgpu_timing';
import type {Gpu} from './webgpu_timing';

const small = process.argv.includes('small');
const sections = process.argv.slice(2).filter(word => word !== 'small');
const asked = (section: string): boolean => sections.length === 0 || sections.includes(section);
const scaled = (n: number): number => (small ? Math.max(4, n / 64) : n);
const HEADS = small ? 2 : 16;
const WARM_MS = small ? 1 : 450;

/** Opened by main. */
let gpu: Gpu;

const tensors = new Map<string, Tensor4D>();
/** Normal numbers, repeated beyond a million: drawn once per shape. */
function normal(...shape: [number, number, number, number]): Tensor4D {
  const known = tensors.get(shape.join());
  if (known) return known;
  const size = tf.util.sizeFromShape(shape);
  const drawn = tf.randomNormal([Math.min(size, 2 ** 20)]);
  const repeated = tf.tidy(() => {
    const copies = tf.tile(drawn, [Math.ceil(size / 2 ** 20)]);
    return tf.reshape<tf.Rank.R4>(tf.slice(copies, [0], [size]), shape);
  });
  tensors.set(shape.join(), repeated);
  return repeated;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];

/** Median milliseconds from the first call to the last result, many calls in a row. */
async function wallMs(f: () => unknown): Promise<number> {
  const samples: number[] = [];
  for (let n = 0; n < 6; n++) {
    await gpu.warm();
    await gpu.finish();
    const begin = performance.now();
    for (let r = 0; r < 60; r++) tf.dispose(f() as tf.TensorContainer);
    await gpu.finish();
    samples.push((performance.now() - begin) / 60);
  }
  return median(samples.slice(1));
}

function say(name: string, values: Record<string, number | string>): void {
  const text = Object.entries(values).map(
    ([key, x]) => `${key} ${typeof x === 'number' ? Number(x.toPrecision(4)) : x}`,
  );
  console.log(`${name}: ${text.join(', ')}`);
  if (gpu.errors.length > 0) throw new Error(gpu.errors[0]);
}

async function verify(D: number, options: FlashAttentionOptions): Promise<void> {
  const [H, N] = [2, 150];
  const [q, k, v] = [0, 1, 2].map(() => tf.randomNormal<tf.Rank.R4>([1, H, N, D]));
  const output = flashAttention(q, k, v, options);
  const [a, b, c, actual] = await Promise.all([q, k, v, output].map(t => t.data()));
  let worst = 0;
  for (let h = 0; h < H; h++) {
    for (let i = 0; i < N; i++) {
      const scores = Array.from({length: options.causal ? i + 1 : N}, (_, j) => {
        let dot = 0;
        for (let d = 0; d < D; d++) dot += a[(h * N + i) * D + d] * b[(h * N + j) * D + d];
        return dot / Math.sqrt(D);
      });
      const top = Math.max(...scores);
      const weights = scores.map(s => Math.exp(s - top));
      const sum = weights.reduce((x, y) => x + y);
      for (let d = 0; d < D; d++) {
        const expected = weights.reduce((x, w, j) => x + (w / sum) * c[(h * N + j) * D + d], 0);
        worst = Math.max(worst, Math.abs(expected - actual[(h * N + i) * D + d]));
      }
    }
  }
  tf.dispose([q, k, v, output]);
  if (!(worst < 4e-6)) throw new Error(`wrong at D ${D}: ${worst}`);
}

const flops = (N: number, D: number): number => 4 * HEADS * N * N * D;
const tflops = (work: number, ms: number): number => work / ms / 1e9;

async function main(): Promise<void> {
  gpu = await openGpu(WARM_MS);
  const {vendor, architecture, description} = gpu.device.adapterInfo;
  console.log(`device: ${vendor} ${architecture} ${description}`);
  for (const D of [32, 59, 64, 80, 96, 128, 256]) await verify(D, {});
  await verify(64, {causal: true});
  console.log('All results match float64. Timing.');

  if (asked('forward'))
    for (const [N, D] of [
      [1024, 64],
      [2048, 64],
      [4096, 64],
      [4096, 128],
    ].map(([n, d]) => [scaled(n), d])) {
      const x = normal(1, HEADS, N, D);
      const ours = await gpu.milliseconds(() => flashAttention(x, x, x));
      const theirs = await gpu.milliseconds(() => chain(x, x, x), 2);
      say(`forward N ${N} D ${D}`, {ms: ours, TFLOPs: tflops(flops(N, D), ours), chain: theirs, ratio: theirs / ours});
    }

  if (asked('widths'))
    for (const D of [32, 59, 80, 96, 256]) {
      const N = scaled(4096);
      const x = normal(1, HEADS, N, D);
      const ms = await gpu.milliseconds(() => flashAttention(x, x, x), 2);
      say(`width ${D}, N ${N}`, {ms, TFLOPs: tflops(flops(N, D), ms)});
    }

  if (asked('options')) {
    const N = scaled(4096);
    const x = normal(1, HEADS, N, 64);
    const bias = normal(1, 1, N, N);
    const mask = tf.greater(bias, -2);
    const window = scaled(512);
    const visible = window + 1 - (window * (window + 1)) / 2 / N;
    const options: Array<[string, FlashAttentionOptions, number]> = [
      ['plain', {}, 1],
      ['causal', {causal: true}, (N + 1) / 2 / N],
      ['softcap', {softcap: 20}, 1],
      ['bias [N,N]', {bias}, 1],
      ['mask [N,N]', {mask}, 1],
      ['window [512, 0]', {window: [window, 0]}, visible / N],
      ['keyLengths', {keyLengths: tf.tensor1d([N / 2], 'int32')}, 0.5],
      ['dropout', {dropout: 0.1, seed: 1}, 1],
    ];
    for (const [name, given, part] of options) {
      const ms = await gpu.milliseconds(() => flashAttention(x, x, x, given), 2);
      say(`${name}, N ${N}`, {ms, 'TFLOPs of the visible': tflops(flops(N, 64) * part, ms)});
    }
    tf.dispose(mask);
  }

  if (asked('backward'))
    for (const N of [scaled(2048), scaled(4096)]) {
      const x = normal(1, HEADS, N, 64);
      // The output's gradient is given: a sum to a scalar would cost as much as a part of either contestant.
      const ours = tf.grads((q, k, v) => flashAttention(q, k, v));
      const theirs = tf.grads((q, k, v) => chain(q as Tensor4D, k as Tensor4D, v as Tensor4D));
      const ms = await gpu.milliseconds(() => ours([x, x, x], x), 1);
      const chainMs = await gpu.milliseconds(() => theirs([x, x, x], x), 1);
      say(`forward + backward N ${N}`, {ms, chain: chainMs, ratio: chainMs / ms});
    }

  if (asked('calls'))
    for (const N of small ? [8] : [128, 256, 512, 1024]) {
      const x = normal(1, HEADS, N, 64);
      say(`calls in a row N ${N}`, {
        'wall ms': await wallMs(() => flashAttention(x, x, x)),
        'chain wall ms': await wallMs(() => chain(x, x, x)),
        'gpu ms': await gpu.milliseconds(() => flashAttention(x, x, x), 8),
        'chain gpu ms': await gpu.milliseconds(() => chain(x, x, x), 8),
      });
    }

  if (asked('softmax')) {
    const [rows, classes] = [scaled(8192), scaled(8192)];
    const x = normal(1, 1, rows, classes).reshape([rows, classes]);
    const [ours, theirs] = [
      await gpu.milliseconds(() => onlineSoftmax(x)),
      await gpu.milliseconds(() => tf.softmax(x)),
    ];
    say(`softmax ${rows} × ${classes}`, {ms: ours, 'tf.softmax ms': theirs, ratio: theirs / ours});
  }

  if (asked('long')) {
    const N = scaled(65536);
    const x = normal(1, 1, N, 64);
    const before = (tf.memory() as unknown as {numBytesAllocatedInGPU: number}).numBytesAllocatedInGPU;
    const ms = await gpu.milliseconds(() => flashAttention(x, x, x), 1);
    const after = (tf.memory() as unknown as {numBytesAllocatedInGPU: number}).numBytesAllocatedInGPU;
    say(`N ${N} H 1`, {ms, 'MB of buffers made': (after - before) / 2 ** 20});
  }

  if (asked('long')) {
    // The last rows of the last head, compared with the chain on that head alone.
    const N = scaled(8192);
    const [q, k] = [normal(1, HEADS, N, 64), normal(1, HEADS, N, 64)];
    const whole = tf.tidy(() => tf.slice(flashAttention(q, k, k), [0, HEADS - 1, N - 4, 0], [1, 1, 4, 64]));
    const head = (x: Tensor4D, from: number): Tensor4D => tf.slice(x, [0, HEADS - 1, from, 0], [1, 1, -1, 64]);
    const alone = tf.tidy(() => chain(head(q, N - 4), head(k, 0), head(k, 0)));
    const difference = (await tf.max(tf.abs(tf.sub(whole, alone))).data())[0];
    const ms = await gpu.milliseconds(() => flashAttention(q, k, k), 1);
    say(`N ${N} H ${HEADS}`, {
      ms,
      TFLOPs: tflops(flops(N, 64), ms),
      'largest difference from the chain on one head': difference,
    });
  }

  if (asked('decode')) {
    const [B, Hkv, H, N, D] = small ? [1, 2, 8, 256, 128] : [8, 8, 32, 16384, 128];
    const k = normal(B, Hkv, N, D);
    const v = tf.add<Tensor4D>(k, 1);
    const bytes = 2 * B * Hkv * N * D * 4;
    const copyMs = await gpu.milliseconds(() => tf.add(k, 1));
    say('copy (add 1)', {'GB/s': bytes / copyMs / 1e6});
    for (const Sq of [1, 4]) {
      const q = normal(B, H, Sq, D);
      const ms = await gpu.milliseconds(() => flashAttention(q, k, v));
      say(`decode Sq ${Sq}`, {ms, 'GB/s': bytes / ms / 1e6, 'of the copy': copyMs / ms});
    }
  }
  if (gpu.errors.length > 0) throw new Error(gpu.errors[0]);
}

main().then(
  () => process.exit(0), // Dawn's threads would keep the process alive
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
