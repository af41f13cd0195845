/** A model in a folder: model.json, weights.bin and the alphabet; works on every backend of Node. */
import {mkdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type {GptSizes} from './model';

export interface Saved {
  alphabet: string[];
  sizes: GptSizes;
}

export async function save(model: tf.LayersModel, folder: string, {alphabet, sizes}: Saved): Promise<void> {
  await mkdir(folder, {recursive: true});
  await model.save(
    tf.io.withSaveHandler(async artifacts => {
      const {modelTopology, weightSpecs, weightData} = artifacts;
      await writeFile(join(folder, 'model.json'), JSON.stringify({modelTopology, weightSpecs, alphabet, sizes}));
      await writeFile(join(folder, 'weights.bin'), new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData)));
      return {modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)};
    }),
  );
}

/** @throws Error in one line where the folder holds no such model. */
export async function load(folder: string): Promise<Saved & {model: tf.LayersModel}> {
  const {modelTopology, weightSpecs, alphabet, sizes} = JSON.parse(await readFile(join(folder, 'model.json'), 'utf8')) as Saved & tf.io.ModelArtifacts; // prettier-ignore
  const weights = await readFile(join(folder, 'weights.bin'));
  const weightData = weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.byteLength);
  return {model: await tf.loadLayersModel(tf.io.fromMemory({modelTopology, weightSpecs, weightData})), alphabet, sizes};
}
