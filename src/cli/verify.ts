/** Runs a model before and after fusing on the same random inputs. */
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import type {GraphModel} from '@tensorflow/tfjs-converter';
import {withBandPartsRead} from '../graph/band_part';
import type {GraphDef, NodeDef} from '../graph/graph_def';
import '../graph/index';
import {einsumsAsMatMuls} from '../graph/projections';
import {checkShapes, randomInputs} from './model_inputs';

const LOADERS: Record<string, () => Promise<unknown>> = {
  wasm: () => import('@tensorflow/tfjs-backend-wasm'),
  tensorflow: () => import('@tensorflow/tfjs-node'),
  cpu: () => import('@tensorflow/tfjs-backend-cpu'),
};

export const VERIFY_BACKENDS = Object.keys(LOADERS);

const ROUNDS = 3;

export interface VerifyOptions {
  backend?: string;
  /** Times max(1, largest output of the model as it was). */
  tolerance: number;
  shape?: Record<string, number[]>;
}

/**
 * @returns the largest difference of any output.
 * @throws Error where it is over the tolerance, or where a model does not run.
 */
export async function verify(
  before: tf.io.ModelArtifacts,
  after: tf.io.ModelArtifacts,
  {backend, tolerance, shape = {}}: VerifyOptions,
  onProgress: (done: number, all: number) => void,
): Promise<number> {
  checkShapes(before, shape);
  await useBackend(backend);
  const models = [await load(asMeant(before)), await load(after)];
  const random = generator(1);
  let worst = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const inputs = randomInputs(before, shape, random);
    const expected = await run(models[0], inputs).catch((error: unknown) => {
      const shapes = Object.entries(inputs).map(([name, {shape}]) => `${name}=${shape.join()}`);
      throw new Error(
        `The model as it is does not run on random inputs (--shape ${shapes.join(' --shape ')}): give other shapes, or fuse without --verify. ${firstLine(error)}`,
        {cause: error},
      );
    });
    const got = await run(models[1], inputs).catch((error: unknown) => {
      throw new Error(`The fused model does not run where the model as it was does; nothing was written. ${firstLine(error)}`, {cause: error}); // prettier-ignore
    });
    tf.dispose(inputs);
    const [difference, limit] = compared(expected, got, tolerance);
    worst = Math.max(worst, difference);
    if (!(difference <= limit)) {
      throw new Error(
        `The fused model differs by ${difference.toExponential(2)}, more than ${limit.toExponential(2)}; nothing was written.`,
      );
    }
    onProgress(round + 1, ROUNDS);
  }
  for (const model of models) model.dispose();
  return worst;
}

/**
 * The model as TensorFlow means it, which is what the fused one must agree with: tfjs-converter 4.22 reads MatrixBandPart wrongly, and
 * backend wasm has no Einsum.
 */
function asMeant(artifacts: tf.io.ModelArtifacts): tf.io.ModelArtifacts {
  const hasEinsum = tf.getKernel('Einsum', tf.getBackend()) !== undefined;
  const mended = (nodes: NodeDef[]): NodeDef[] => withBandPartsRead(hasEinsum ? nodes : einsumsAsMatMuls(nodes));
  const topology = artifacts.modelTopology as GraphDef;
  const bodies = topology.library?.function?.map(body => ({...body, nodeDef: mended(body.nodeDef ?? [])}));
  const library = bodies ? {library: {...topology.library, function: bodies}} : {};
  return {...artifacts, modelTopology: {...topology, node: mended(topology.node), ...library}};
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0];
}

async function useBackend(wanted: string | undefined): Promise<void> {
  tf.env().set('PROD', true);
  for (const name of wanted === undefined ? VERIFY_BACKENDS : [wanted]) {
    try {
      await LOADERS[name]();
      if (await tf.setBackend(name)) return;
    } catch {
      // The next one may be installed.
    }
  }
  throw new Error(
    wanted === undefined
      ? `--verify needs a backend: install @tensorflow/tfjs-backend-wasm or @tensorflow/tfjs-backend-cpu.`
      : `Backend '${wanted}' is not installed or does not start.`,
  );
}

function load(artifacts: tf.io.ModelArtifacts): Promise<GraphModel> {
  return loadGraphModel({load: () => Promise.resolve(artifacts)});
}

async function run(model: GraphModel, inputs: tf.NamedTensorMap): Promise<Float32Array[]> {
  const result = await executed(model, inputs);
  const tensors = Array.isArray(result) ? result : [result];
  const values = await Promise.all(tensors.map(async tensor => Float32Array.from(await tensor.data())));
  tf.dispose(tensors);
  return values;
}

/** Only models with control flow or sizes that depend on values need the asynchronous way; the others warn about it. */
async function executed(model: GraphModel, inputs: tf.NamedTensorMap): Promise<tf.Tensor | tf.Tensor[]> {
  try {
    return model.execute(inputs);
  } catch {
    return await model.executeAsync(inputs);
  }
}

/** The largest difference, and what is allowed; a NaN on one side only counts as infinite. */
function compared(expected: Float32Array[], got: Float32Array[], tolerance: number): [number, number] {
  let difference = expected.length === got.length ? 0 : Infinity;
  let largest = 1;
  expected.forEach((values, n) => {
    if (got[n]?.length !== values.length) difference = Infinity;
    values.forEach((x, i) => {
      const y = got[n]?.[i];
      if (Number.isFinite(x)) largest = Math.max(largest, Math.abs(x));
      if (Object.is(x, y)) return;
      const gap = Math.abs(x - y);
      difference = Math.max(difference, Number.isNaN(gap) ? Infinity : gap);
    });
  });
  return [difference, tolerance * largest];
}

/** mulberry32: the same inputs every time. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
