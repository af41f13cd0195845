/** Keras models with Keras's own answers: those of test/layers/keras (make_models.py made them) and the shared encoder. */
import * as tf from '@tensorflow/tfjs-core';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';

interface Values {
  shape: number[];
  values: number[];
}

export interface KerasModel {
  artifacts: tf.io.ModelArtifacts;
  inputs: Array<Values & {dtype?: 'float32' | 'bool'}>;
  outputs: Values[];
}

export const KERAS_MODELS = [
  'cross', 'causal', 'attention_mask', 'masked_embedding', 'nested', 'scores', 'axis', 'shared',
] as const; // prettier-ignore

export function readKerasModel(name: string): KerasModel {
  const file = JSON.parse(readFileSync(join(__dirname, 'keras', `${name}.json`), 'utf8'));
  return {
    ...file,
    artifacts: {
      modelTopology: file.modelTopology,
      weightSpecs: file.weightSpecs,
      weightData: bytes(Buffer.from(file.weightData, 'base64')),
    },
  };
}

/** The converter's folder of a model that lies beside the checkout; undefined where it is not there. */
export function readSharedEncoder(): KerasModel | undefined {
  const folder = join(__dirname, '../../../shared/models/layers/encoder');
  try {
    const read = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8'));
    const {modelTopology, weightsManifest} = read('model.json');
    const io = read('io.json');
    const values = ({shape, data}: {shape: number[]; data: number[]}): Values => ({shape, values: data});
    const weightData = bytes(readFileSync(join(folder, 'group1-shard1of1.bin')));
    const artifacts = {modelTopology, weightSpecs: weightsManifest[0].weights, weightData};
    return {artifacts, inputs: io.inputs.map(values), outputs: [values(io.output)]};
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export function inputTensors({inputs}: KerasModel): tf.Tensor[] {
  return inputs.map(({shape, values, dtype = 'float32'}) => tf.tensor(values, shape, dtype));
}

function bytes(buffer: Buffer): ArrayBuffer {
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) as ArrayBuffer;
}
