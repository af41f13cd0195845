/** Running one way of doing attention on a case's inputs, with gradients, and reading everything back. */
import * as tf from '@tensorflow/tfjs-core';
import type {AttentionCase} from '../cases';
import {chainAttention} from '../chain';
import {makeCotangents} from '../inputs';
import type {CaseInputs, HostArray} from '../inputs';
import type {ReferenceGradients} from '../reference';

export type CaseTensors = Record<keyof CaseInputs, tf.Tensor>;

export function toTensor({values, shape, dtype}: HostArray): tf.Tensor {
  const debug = tf.env().getBool('DEBUG');
  // tfjs's debug mode refuses to upload the NaN and infinities that cases are about.
  tf.env().set('DEBUG', false);
  // A copy: tfjs keeps the array it is given, and a case's arrays are used many times.
  const tensor = tf.tensor(values instanceof Float64Array ? Float32Array.from(values) : values.slice(), shape, dtype);
  tf.env().set('DEBUG', debug);
  return tensor;
}

/** The tensors of a case; those absent in the case are absent here. */
export function toTensors(inputs: CaseInputs): CaseTensors {
  return Object.fromEntries(Object.entries(inputs).map(([name, array]) => [name, toTensor(array)])) as CaseTensors;
}

export type GradientName = keyof ReferenceGradients;
export type Values = ArrayLike<number>;

/** What a run gives, read back. */
export interface Run {
  output: Values;
  lse: Values;
  gradients: Partial<Record<GradientName, Values>>;
}

export type Attention = (x: CaseTensors) => {output: tf.Tensor; lse: tf.Tensor};

/** Runs `attention` with its gradients under the case's cotangents. */
export async function runWithGradients(c: AttentionCase, inputs: CaseInputs, attention: Attention): Promise<Run> {
  const names = (['q', 'k', 'v', 'bias', 'sinks'] as const).filter(name => inputs[name]);
  const cotangents = makeCotangents(c);
  const tensors = toTensors(inputs);
  const dOutput = toTensor(cotangents.dOutput);
  const dLse = toTensor(cotangents.dLse);
  const kept: tf.Tensor[] = [];
  const loss = (...wrt: tf.Tensor[]): tf.Scalar => {
    const replaced = Object.fromEntries(names.map((name, n) => [name, wrt[n]]));
    const {output, lse} = attention({...tensors, ...replaced});
    kept.push(tf.keep(tf.clone(output)), tf.keep(tf.clone(lse)));
    const ofLse = total(tf.mul(tf.reshape(lse, dLse.shape), dLse));
    return tf.add(total(tf.mul(output, dOutput)), ofLse);
  };
  const gradients = tf.grads(loss)(names.map(name => tensors[name]));
  const read = await Promise.all([...kept, ...gradients].map(tensor => tensor.data()));
  tf.dispose([tensors, dOutput, dLse, kept, gradients]);
  const [output, lse, ...values] = read as Values[];
  return {output, lse, gradients: Object.fromEntries(names.map((name, n) => [name, values[n]]))};
}

/** The sum, of an empty tensor too, which tfjs's own does not take on webgl. */
export function total(x: tf.Tensor): tf.Scalar {
  return tf.sum(x.size === 0 ? tf.concat([tf.reshape(x, [0]), tf.zeros([1])]) : x);
}

export const runChain = (c: AttentionCase, inputs: CaseInputs): Promise<Run> =>
  runWithGradients(c, inputs, x => chainAttention(c, inputs, x));
