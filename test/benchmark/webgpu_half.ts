/**
 * How fast is attention in half precision on WebGPU, and which tiles are best? Each is held to float64 first; one that fails is
 * said so and left out.
 *
 * npm run bench -- webgpu_half [small]    needs a GPU that Dawn finds; `small` shrinks every size, to try the script on a processor.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {MatrixChoice} from '../../kernels/matrix_tiling';
import type {Precision} from '../../kernels/options';
import {explain, flashAttention} from '../../src';
import {internalsOf, stateOf} from '../../src/backends/webgpu/device';
import {forceImplementation} from '../../src/register';
import {attentionCase} from '../cases';
import type {AttentionCase, Given} from '../cases';
import {magnitude, worstDeviation} from '../closeness';
import {toTensors} from '../contract/run';
import {optionsOf} from '../contract/run_case';
import {makeInputs} from '../inputs';
import {referenceAttention} from '../reference';
import {openGpu} from './webgpu_timing';
import type {Gpu} from './webgpu_timing';

const small = process.argv.includes('small');
const HEADS = small ? 1 : 16;
const scaled = (n: number): number => (small ? n / 64 : n);
let gpu: Gpu;
const stateOfGpu = () => stateOf(internalsOf(tf.backend()));

interface Candidate {
  implementation: string;
  precision: Precision;
  D: number;
  /** Undefined: the tiles that the backend itself takes. */
  choice?: MatrixChoice;
  /** Whether keys and values are converted once, before the kernel; undefined: where the backend does. */
  converts?: boolean;
}

/** @param tiles subgroups × rows / keys, `l` where the next tile is read late. */
const matrix = (precision: Precision, D: number, tiles: string): Candidate[] =>
  tiles.split(' ').flatMap(text => {
    const [, subgroups, rows, keys, late] = /^(\d+)x(\d+)\/(\d+)(l?)$/.exec(text)!;
    const choice = {subgroups: +subgroups, rows: +rows, keys: +keys, prefetch: late === ''};
    return [false, true].map(converts => ({implementation: 'webgpu-matrix', precision, D, choice, converts}));
  });
const CANDIDATES: Candidate[] = [
  ...matrix('float16', 64, '4x32/16 4x32/16l 4x32/32 8x32/16 8x16/32'),
  ...matrix('float16', 128, '8x16/32 8x16/32l 8x16/16'),
  ...matrix('float16x2', 64, '4x16/16 4x16/16l 8x16/16'),
  ...matrix('float16x2', 128, '8x16/16 8x16/16l'),
  ...[64, 128].map((D): Candidate => ({implementation: 'webgpu-half', precision: 'float16', D})),
  ...[64, 128].map((D): Candidate => ({implementation: 'webgpu-subgroups', precision: 'float32', D})),
];

const nameOf = ({implementation, precision, D, choice, converts}: Candidate): string =>
  `${precision} D ${D} ${implementation}` +
  (choice
    ? ` ${choice.subgroups}×${choice.rows} rows, ${choice.keys} keys${choice.prefetch ? ', prefetch' : ''}`
    : '') +
  (converts === undefined ? '' : converts ? ', converted once' : ', converted by each tile of queries');

function select({implementation, choice, converts}: Candidate): void {
  forceImplementation(implementation);
  stateOfGpu().matrixChoice = choice;
  stateOfGpu().converts = converts;
}

const references = new Map<string, Float64Array>();

/** The largest error. @throws Error where the contract does not allow it. */
async function check(c: AttentionCase): Promise<number> {
  const precision = c.options.precision!;
  const inputs = makeInputs(c);
  const x = toTensors(inputs);
  const output = flashAttention(x.q, x.k, x.v, optionsOf(c, x));
  const values = await output.data();
  tf.dispose([x, output]);
  if (gpu.errors.length > 0) throw new Error(gpu.errors.splice(0).join('\n').slice(0, 600));
  const key = `${c.name} ${precision} ${c.D}`;
  const expected = references.get(key) ?? referenceAttention(c, inputs).output;
  references.set(key, expected);
  const {error, index} = worstDeviation(values, expected);
  const allowed = {float16: 4e-3, float16x2: 1e-5, float32: 4e-6}[precision] * magnitude(expected);
  if (!(error <= allowed)) {
    throw new Error(`${c.name}: output[${index}] is ${values[index]}, not ${expected[index]} (error ${error})`);
  }
  return error;
}

// Up to 128 keys are not split, so that what is checked is what is timed.
const SHAPES: Given[] = [
  {H: 2, Sq: 150, Sk: 120},
  {H: 2, Sq: 127, Sk: 113, options: {causal: true}},
  {H: 4, Hkv: 2, Sq: 65, Sk: 97, options: {causal: true, keyLengths: [77]}},
  {H: 2, Sq: 90, Sk: 110, options: {alibiSlopes: 'perHead', queryOffset: 1000, window: [950, -1]}},
];

async function verify({precision, D}: Candidate, shapes = SHAPES): Promise<number> {
  let worst = 0;
  for (const [n, given] of shapes.entries()) {
    const c = attentionCase(`case ${n}`, {...given, D, Dv: D, options: {...given.options, precision}});
    worst = Math.max(worst, await check(c));
  }
  return worst;
}

async function attempt(name: string, work: () => Promise<string>): Promise<void> {
  try {
    console.log(`${name}: ${await work()}`);
  } catch (error) {
    console.log(`${name}: FAILED ${(error as Error).message.slice(0, 600)}`);
  }
  gpu.errors.length = 0;
}

const normal = new Map<string, tf.Tensor4D>();
/** Normal numbers, repeated beyond a million: drawing them takes long. */
function normalTensor(shape: [number, number, number, number]): tf.Tensor4D {
  const size = tf.util.sizeFromShape(shape);
  const drawn = Math.min(size, 2 ** 20 + 7);
  return tf.tidy(() => {
    const copies = tf.tile(tf.randomNormal([drawn]), [Math.ceil(size / drawn)]);
    return tf.reshape<tf.Rank.R4>(tf.slice(copies, [0], [size]), shape);
  });
}

/** Queries and keys are not the same: a row's own key would stand out. */
function tensorsOf(N: number, D: number): [tf.Tensor4D, tf.Tensor4D] {
  const of = (name: string) => {
    const known = normal.get(`${name} ${N} ${D}`);
    const tensor = known ?? normalTensor([1, HEADS, N, D]);
    normal.set(`${name} ${N} ${D}`, tensor);
    return tensor;
  };
  return [of('q'), of('k')];
}

async function timed({precision, D}: Candidate, N: number): Promise<string> {
  const [q, k] = tensorsOf(N, D);
  const ms = await gpu.milliseconds(() => flashAttention(q, k, k, {precision}), N > 2048 ? 2 : 4);
  if (gpu.errors.length > 0) throw new Error(gpu.errors[0]);
  return `${Number(ms.toPrecision(4))} ms, ${Number(((4 * HEADS * N * N * D) / ms / 1e9).toPrecision(4))} TFLOP/s`;
}

async function run(): Promise<void> {
  gpu = await openGpu(small ? 1 : 250);
  const {vendor, architecture, description} = gpu.device.adapterInfo;
  const {hasHalves, matrices} = stateOfGpu();
  console.log(`device: ${vendor} ${architecture} ${description}`);
  console.log(`float16 ${hasHalves}, subgroups of ${matrices.subgroup}, matrices ${JSON.stringify(matrices.shapes)}`);

  for (const candidate of CANDIDATES) {
    await attempt(nameOf(candidate), async () => {
      select(candidate);
      const begin = performance.now();
      const error = await verify(candidate);
      const seconds = ((performance.now() - begin) / 1000).toFixed(1);
      return `error ${error.toExponential(1)} (checked in ${seconds} s); N 4096: ${await timed(candidate, scaled(4096))}`;
    });
  }

  // The backend's own choice, at other lengths and widths, with keys split; and from which length on converting once pays.
  for (const precision of ['float16', 'float16x2'] as const) {
    const own: Candidate = {implementation: 'webgpu', precision, D: 80};
    await attempt(nameOf(own), async () => {
      select(own);
      const error = await verify(own, [...SHAPES, {H: 2, Sq: 70, Sk: 300}]);
      return `error ${error.toExponential(1)}; N 4096: ${await timed(own, scaled(4096))}`;
    });
    for (const D of [64, 128]) {
      for (const N of [scaled(512), scaled(1024), scaled(2048)]) {
        for (const converts of [undefined, false, true]) {
          const candidate = {...own, D, converts};
          await attempt(nameOf(candidate), async () => {
            select(candidate);
            return `N ${N}: ${await timed(candidate, N)}`;
          });
        }
      }
      select({...own, D});
      const [q, k] = tensorsOf(scaled(4096), D);
      await attempt(`causal ${nameOf({...own, D})}`, async () => {
        const ms = await gpu.milliseconds(() => flashAttention(q, k, k, {precision, causal: true}), 2);
        return `N ${scaled(4096)}: ${Number(ms.toPrecision(4))} ms, tiles ${JSON.stringify(explain(q, k, k, {precision}).tiles)}`;
      });
    }
  }
}

const running = run();
/** For what imports the script and waits for it. */
export const main = (): Promise<void> => running;
// Dawn's threads would keep the process alive.
running.then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
