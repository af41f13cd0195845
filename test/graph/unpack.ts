/** A model with inputs and TensorFlow's outputs: how it is unpacked, run and judged, in Node and in a page. */
import * as tf from '@tensorflow/tfjs-core';
import type {GraphModel} from '@tensorflow/tfjs-converter';

export interface ModelCase {
  name: string;
  artifacts: tf.io.ModelArtifacts;
  inputs: Record<string, {dtype: string; shape: number[]; data: number[]}>;
  outputs: Record<string, {shape: number[]; data: number[]}>;
}

interface Packed extends Pick<ModelCase, 'inputs' | 'outputs'> {
  model: tf.io.ModelJSON;
  /** base64. */
  weights: string;
}

/** @param text the JSON that make_models.py writes. */
export function unpack(name: string, text: string): ModelCase {
  const {model, weights, inputs, outputs} = JSON.parse(text) as Packed;
  const bytes = Uint8Array.from(atob(weights), letter => letter.charCodeAt(0));
  const {weightsManifest, ...rest} = model;
  const artifacts = {...rest, weightSpecs: weightsManifest.flatMap(group => group.weights), weightData: bytes.buffer};
  return {name, artifacts, inputs, outputs};
}

/** The signature may say `x:0` where the inputs say `x`. */
export function tensorsFor(model: GraphModel, inputs: ModelCase['inputs']): tf.NamedTensorMap {
  return Object.fromEntries(
    model.inputs.map(({name}) => {
      const {data, shape, dtype} = inputs[name] ?? inputs[name.split(':')[0]];
      return [name, tf.tensor(data, shape, dtype.startsWith('int') ? 'int32' : (dtype as tf.DataType))];
    }),
  );
}

interface Signature {
  outputs: Record<string, {name: string}>;
}

/** Largest difference of any output to TensorFlow's; NaN where one of them is not a number. */
export async function errorOf(model: GraphModel, {inputs, outputs}: ModelCase): Promise<number> {
  const tensors = tensorsFor(model, inputs);
  const {outputs: named} = model.modelSignature as unknown as Signature;
  let worst = 0;
  for (const [key, {data, shape}] of Object.entries(outputs)) {
    const result = (await execute(model, tensors, named[key].name)) as tf.Tensor;
    if (result.shape.join() !== shape.join())
      throw new Error(`output ${key} has shape [${result.shape}], not [${shape}]`);
    const values = await result.data();
    data.forEach((x, n) => {
      const gap = Math.abs(x - values[n]);
      if (!(gap <= worst)) worst = gap;
    });
    result.dispose();
  }
  tf.dispose(tensors);
  return worst;
}

/** One output by name, or all of them. */
export async function execute(
  model: GraphModel,
  inputs: tf.NamedTensorMap,
  output?: string,
): Promise<tf.Tensor | tf.Tensor[]> {
  const hasControlFlow = (model as unknown as {artifacts: tf.io.ModelArtifacts}).artifacts;
  const {node} = hasControlFlow.modelTopology as {node: Array<{op: string}>};
  return node.some(({op}) => /While|If/.test(op)) ? model.executeAsync(inputs, output) : model.execute(inputs, output);
}
