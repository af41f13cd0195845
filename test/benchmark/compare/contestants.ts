/** What takes part on a tfjs backend: each implementation of flashAttention, the chain, Keras's Einsums. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor4D} from '@tensorflow/tfjs-core';
import {explain, flashAttention} from '../../../src';
import type {Machine} from '../../../kernels/machines';
import {webgpuVariants} from '../../../src/backends/webgpu';
import {forceImplementation, implementationsOf} from '../../../src/register';
import {normalNumbers} from '../../inputs';
import {chain} from '../chain';
import {inputsOf} from './numbers';
import {queriesOf} from './result';
import type {Prediction, Problem} from './result';

type Attend = (q: Tensor4D, k: Tensor4D, v: Tensor4D) => Tensor;

export interface Contestant {
  name: string;
  implementation?: string;
  /** Unless forced otherwise this one serves the call. */
  isChosen?: boolean;
  /** It does not run on tfjs. */
  isOutside?: true;
  /** Why it does not take part. */
  unable?: string;
  /** So many runs in a row, to the end of the last; their milliseconds where it measured them itself. */
  run(count: number): Promise<number | undefined>;
  /** Output, [H, Sq, D]. */
  output(): Promise<Float32Array>;
  /** Gradients of q, k, v under the gradient of the output; absent where it has none. */
  gradients?(cotangent: Float32Array): Promise<Float32Array[]>;
  predicted?: Prediction;
}

export interface Field {
  contestants: Contestant[];
  /** Puts the inputs where the backend computes, before memory is counted. */
  upload(): Promise<void>;
  /** Frees the inputs that they share. */
  dispose(): void;
}

/** Elements that the broadcast products of Keras's Einsums may have. */
const MOST_ELEMENTS = 2 ** 27;
/** Queries up to which the WebGPU kernel for few of them takes part: for more a driver compiles it for minutes. */
const FEW_QUERIES = 16;

/** MultiHeadAttention's call in Keras: einsums over [B, S, H, D]. */
function einsums(q: Tensor4D, k: Tensor4D, v: Tensor4D): Tensor {
  const [x, y, z] = [q, k, v].map(t => tf.transpose(t, [0, 2, 1, 3]));
  const scores = tf.einsum('aecd,abcd->acbe', y, tf.mul(x, 1 / Math.sqrt(q.shape[3])));
  return tf.transpose(tf.einsum('acbe,aecd->abcd', tf.softmax(scores), z), [0, 2, 1, 3]);
}

/** Runs under an implementation; in backward passes the gradients are taken within. */
function under<T>(implementation: string | undefined, work: () => T): T {
  forceImplementation(implementation ?? null);
  try {
    return work();
  } finally {
    forceImplementation(null);
  }
}

/** Why an implementation does not serve a call, in its own words. */
function whyNot(implementation: string, inputs: Tensor4D[]): string | undefined {
  try {
    under(implementation, () => explain(inputs[0], inputs[1], inputs[2]));
    return undefined;
  } catch (error) {
    const {message} = error as Error;
    return new RegExp(`${implementation} \\((.*?)\\)(,|$)`).exec(message)?.[1] ?? message;
  }
}

type Inputs = [Tensor4D, Tensor4D, Tensor4D];

interface Attendant {
  name: string;
  implementation?: string;
  unable?: string;
  attend: Attend;
}

function attendants(problem: Problem, inputs: Inputs): Attendant[] {
  const backend = tf.getBackend();
  const {H, N, D} = problem;
  const implementations = [...implementationsOf(backend), ...(backend === 'webgpu' ? webgpuVariants : [])];
  const isLong = queriesOf(problem) > FEW_QUERIES;
  const product = queriesOf(problem) * N * H * D;
  return [
    ...implementations.map(({name}) => ({
      name: `flash, ${name}`,
      implementation: name,
      unable: name === 'webgpu-decode' && isLong ? 'it is for few queries' : whyNot(name, inputs),
      attend: (q: Tensor4D, k: Tensor4D, v: Tensor4D) => flashAttention(q, k, v),
    })),
    {name: 'chain', attend: chain},
    {
      name: 'Keras einsum',
      unable:
        backend !== 'tensorflow' && product > MOST_ELEMENTS
          ? 'its broadcast product would have more than 2²⁷ elements'
          : undefined,
      attend: einsums,
    },
  ];
}

/** The inputs as tensors, [1, H, rows, D]. */
function tensorsOf(problem: Problem): Inputs {
  const {H, N, D} = problem;
  const {q, k, v} = inputsOf(problem);
  return [tf.tensor4d(q, [1, H, queriesOf(problem), D]), tf.tensor4d(k, [1, H, N, D]), tf.tensor4d(v, [1, H, N, D])];
}

/** Those of the current backend. `machine`: for predictions. */
export function fieldOf(problem: Problem, machine?: Machine): Field {
  const inputs = tensorsOf(problem);
  const {shape} = inputs[0];
  const weights = problem.pass === 'backward' ? tf.tensor(normalNumbers(inputs[0].size, 4), shape) : undefined;
  const chosen = explain(...inputs).implementation;
  const contestants = attendants(problem, inputs).map(({name, implementation, unable, attend}): Contestant => {
    const gradientsUnder = (dOutput: tf.Tensor): Tensor[] =>
      under(implementation, () =>
        tf.grads((a, b, c) => attend(a as Tensor4D, b as Tensor4D, c as Tensor4D))(inputs, dOutput),
      );
    const outputs = (): Tensor[] => [under(implementation, () => tf.tidy(() => attend(...inputs)))];
    const once = weights ? () => gradientsUnder(weights) : outputs;
    return {
      name,
      implementation,
      ...(implementation && {isChosen: implementation === chosen}),
      unable,
      run: async count => {
        for (let n = 1; n < count; n++) tf.dispose(once());
        const last = once();
        await settled(last[last.length - 1]);
        tf.dispose(last);
        return undefined;
      },
      output: async () => (await readAndDispose(outputs()))[0],
      gradients: async cotangent => {
        const dOutput = tf.tensor(cotangent, shape);
        const gradients = await readAndDispose(gradientsUnder(dOutput));
        dOutput.dispose();
        return gradients;
      },
      predicted: implementation && machine && !weights ? predict(implementation, inputs, machine) : undefined,
    };
  });
  const tensors = weights ? [...inputs, weights] : inputs;
  const upload = async (): Promise<void> => {
    for (const tensor of tensors) await settled(tensor);
  };
  return {contestants, upload, dispose: () => tf.dispose(tensors)};
}

async function readAndDispose(tensors: Tensor[]): Promise<Float32Array[]> {
  const values = await Promise.all(tensors.map(tensor => tensor.data<'float32'>()));
  tf.dispose(tensors);
  return values;
}

/** A GPU works behind the script's back; one number of the result is there when all of it is. */
async function settled(result: Tensor): Promise<void> {
  if (!['webgl', 'webgpu'].includes(tf.getBackend())) return;
  const number = tf.tidy(() => tf.slice(tf.reshape(result, [-1]), 0, 1));
  await number.data();
  number.dispose();
}

function predict(implementation: string, [q, k, v]: Tensor4D[], machine: Machine): Prediction | undefined {
  try {
    const {bound, seconds, memory} = under(implementation, () => explain(q, k, v, {machine}));
    return {bound: bound.fused, ms: 1000 * seconds.fused, megabytes: memory.fused / 1e6};
  } catch {
    return undefined; // it does not serve this call; running it says why
  }
}
