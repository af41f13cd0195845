/** One model as converted and with its attention fused: verified, then timed in turn. Runs in Node and in a page. */
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import type {GraphModel} from '@tensorflow/tfjs-converter';
import {loadFusedGraphModel} from 'tfjs-flash-attention/graph';
import {encoder} from '../graph/transformer';
import {errorOf, execute, tensorsFor, unpack} from '../graph/unpack';
import type {Timing} from './measure';

export interface EncoderCase {
  style: 'bert' | 'keras';
  positions: number;
  layers: number;
  /** Heads are 64 wide, the layers between 4 times as wide. */
  width: number;
}

export interface Measured {
  found: number;
  fused: number;
  /** Largest difference to what it was verified against. */
  difference: number;
  verifiedBy: string;
  /** Runs of each that were timed, and their medians in ms. */
  rounds: number;
  plain?: Timing;
  fusedTiming: Timing;
  /** On webgpu, where the device has timestamps: what the GPU computes in a run, without what it waits for. */
  gpuMs?: {plain?: number; fused: number};
  /** Why the model as converted could not run. */
  plainFails?: string;
}

/** Layer norm keeps an encoder's values near 1. */
const TOLERANCE = 1e-3;
/** Positions at which cpu says what is right where the backend cannot run the model as converted. */
const FEW = 8;
const MOST_ROUNDS = 1000;
/** Of the budget. */
const COLD = 1 / 3;
const FEWEST_WARM = 3;

const handlerOf = (artifacts: tf.io.ModelArtifacts): tf.io.IOHandler => ({load: () => Promise.resolve(artifacts)});

function encoderInputs({style, positions, width}: EncoderCase): tf.NamedTensorMap {
  const mask = Float32Array.from({length: positions}, (_, j) => (j < 0.9 * positions ? 0 : -1e4));
  const x = tf.randomNormal([1, positions, width], 0, 1, 'float32', 1);
  return style === 'bert' ? {x, mask: tf.tensor(mask, [1, 1, 1, positions])} : {x};
}

/** @param budget milliseconds that the timed rounds may take together. */
export async function measureEncoder(problem: EncoderCase, budget: number): Promise<Measured> {
  const {style, layers, width} = problem;
  const artifacts = encoder(style, {layers, width, heads: width / 64, inner: 4 * width});
  const plain = await loadGraphModel(handlerOf(artifacts));
  const {model: fused, report} = await loadFusedGraphModel(handlerOf(artifacts));
  const inputs = encoderInputs(problem);
  const expected = await outcomeOf(plain, inputs);
  const output = await valuesOf(fused, inputs);
  const {difference, verifiedBy, failure} = await verified(artifacts, problem, output, expected);
  const times = await timed(failure === undefined ? plain : undefined, fused, inputs, budget);
  tf.dispose(inputs);
  return {found: report.sites.length, fused: report.fused, difference, verifiedBy, ...times, plainFails: failure};
}

interface Verified extends Pick<Measured, 'difference' | 'verifiedBy'> {
  /** What keeps the model as converted from being timed. */
  failure?: string;
}

/**
 * By the model as converted; where that gives other numbers, by the fused one on cpu, whose kernels and products share nothing with a
 * GPU's: Einsum's broadcast product can be too large for textures without a word from tfjs.
 */
async function verified(
  artifacts: tf.io.ModelArtifacts,
  problem: EncoderCase,
  output: Float32Array,
  expected: Float32Array | string,
): Promise<Verified> {
  const runs = typeof expected !== 'string';
  const gap = runs ? largestGap(expected, output) : await gapToCpu(artifacts, {...problem, positions: FEW}, false);
  const verifiedBy = `the model as converted${runs ? '' : ` on cpu at ${FEW} positions`}`;
  if (gap < TOLERANCE) return {difference: gap, verifiedBy, failure: runs ? undefined : expected};
  const toCpu = runs ? await gapToCpu(artifacts, problem, true) : NaN;
  if (!(toCpu < TOLERANCE)) throw new Error(`the results differ by ${gap}, from cpu's by ${toCpu}`);
  return {
    difference: toCpu,
    verifiedBy: 'the fused model on cpu',
    failure: `its results are off by ${gap.toPrecision(2)}`,
  };
}

/**
 * @param text a model with TensorFlow's answers, as test/graph/models has them.
 * @param plainFails why the model as converted is not run at all.
 */
export async function measureModel(name: string, text: string, budget: number, plainFails?: string): Promise<Measured> {
  const model = unpack(name, text);
  const plain = await loadGraphModel(handlerOf(model.artifacts));
  const {model: fused, report} = await loadFusedGraphModel(handlerOf(model.artifacts));
  const inputs = tensorsFor(fused, model.inputs);
  const difference = await errorOf(fused, model);
  let failure = plainFails;
  if (failure === undefined) {
    const expected = await outcomeOf(plain, inputs);
    if (typeof expected === 'string') failure = expected;
  }
  if (!(difference < TOLERANCE)) throw new Error(`the results differ from TensorFlow's by ${difference}`);
  const times = await timed(failure === undefined ? plain : undefined, fused, inputs, budget);
  tf.dispose(inputs);
  return {
    found: report.sites.length, fused: report.fused, difference, verifiedBy: 'TensorFlow', ...times,
    plainFails: failure,
  }; // prettier-ignore
}

async function valuesOf(model: GraphModel, inputs: tf.NamedTensorMap): Promise<Float32Array> {
  const result = [await execute(model, inputs)].flat();
  const [values] = await Promise.all(result.map(tensor => tensor.data()));
  tf.dispose(result);
  return values as Float32Array;
}

/** The values, or what kept the model from running. */
async function outcomeOf(model: GraphModel, inputs: tf.NamedTensorMap): Promise<Float32Array | string> {
  tf.engine().startScope();
  try {
    return await valuesOf(model, inputs);
  } catch (error) {
    return (error as Error).message.split('\n')[0];
  } finally {
    tf.engine().endScope();
  }
}

/** NaN where the lengths differ or one of the values is none. */
function largestGap(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let gap = a.length === b.length ? 0 : NaN;
  for (let n = 0; n < a.length && gap >= 0; n++) {
    const here = Math.abs(a[n] - b[n]);
    if (!(here <= gap)) gap = here;
  }
  return gap;
}

async function gapToCpu(artifacts: tf.io.ModelArtifacts, problem: EncoderCase, fused: boolean): Promise<number> {
  const backend = tf.getBackend();
  const run = async (load: () => Promise<GraphModel>): Promise<Float32Array> => {
    const [model, inputs] = [await load(), encoderInputs(problem)];
    const values = await valuesOf(model, inputs);
    model.dispose();
    tf.dispose(inputs);
    return values;
  };
  const load = async () => (await loadFusedGraphModel(handlerOf(artifacts))).model;
  const result = await run(load);
  await tf.setBackend('cpu');
  const expected = await run(fused ? load : () => loadGraphModel(handlerOf(artifacts)));
  await tf.setBackend(backend);
  return largestGap(expected, result);
}

/** In turn, so that a slow moment of the machine hits both; what was verified is warm. */
async function timed(
  plain: GraphModel | undefined,
  fused: GraphModel,
  inputs: tf.NamedTensorMap,
  budget: number,
): Promise<Pick<Measured, 'rounds' | 'plain' | 'fusedTiming' | 'gpuMs'>> {
  const models = plain ? [plain, fused] : [fused];
  const rounds: Array<{begin: number; ms: number[]}> = [];
  const start = performance.now();
  do {
    const round = {begin: performance.now(), ms: [] as number[]};
    for (const model of models) {
      const begin = performance.now();
      await valuesOf(model, inputs);
      round.ms.push(performance.now() - begin);
    }
    rounds.push(round);
  } while (performance.now() < start + budget && rounds.length < MOST_ROUNDS);
  // Small models are compiled while they run: their first third does not count.
  const warm = rounds.filter(({begin}) => begin > start + budget * COLD);
  const counted = warm.length >= FEWEST_WARM ? warm : rounds;
  const samples = models.map((_, n) => counted.map(({ms}) => ms[n]));
  const timings = samples.map((ms, n): Timing => {
    const sorted = ms.sort((a, b) => a - b);
    return {name: models[n] === fused ? 'fused' : 'as converted', ms: sorted[sorted.length >> 1], fastest: sorted[0], slowest: sorted[sorted.length - 1]}; // prettier-ignore
  });
  const gpu: number[] = [];
  const isQuick = timings.every(({ms}) => ms < SOFTWARE_MS);
  for (const model of models) gpu.push(isQuick ? await gpuMilliseconds(model, inputs) : 0);
  const onGpu = gpu.every(ms => ms > 0) ? {gpuMs: {plain: plain && gpu[0], fused: gpu[gpu.length - 1]}} : {};
  return {rounds: counted.length, plain: plain && timings[0], fusedTiming: timings[timings.length - 1], ...onGpu};
}

/** A warm-up that lets a GPU clock up, then the runs whose median counts. */
const [GPU_WARM, GPU_RUNS] = [30, 9];
/** What takes longer is a software driver's work, which needs no telling apart from what JavaScript waits for. */
const SOFTWARE_MS = 500;

/** By timestamps, median; 0 where the backend has none. */
async function gpuMilliseconds(model: GraphModel, inputs: tf.NamedTensorMap): Promise<number> {
  if (tf.getBackend() !== 'webgpu' || !(tf.backend() as unknown as {supportTimestampQuery: boolean}).supportTimestampQuery) return 0; // prettier-ignore
  const samples: number[] = [];
  for (let n = 0; n < GPU_RUNS; n++) {
    for (let warm = 0; warm < (n === 0 ? GPU_WARM : 3); warm++) await valuesOf(model, inputs);
    const {kernelMs} = await tf.time(() => tf.dispose(model.execute(inputs)));
    samples.push(Number(kernelMs));
  }
  return samples.sort((a, b) => a - b)[GPU_RUNS >> 1];
}
