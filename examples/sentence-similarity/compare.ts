/** Runs one set of sentences through the published and the fused model. */
import {readFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import type {GraphModel} from '@tensorflow/tfjs-converter';
import {Tokenizer} from '@tensorflow-models/universal-sentence-encoder';
import {loadFusedGraphModel} from 'tfjs-flash-attention/graph';
import type {Report} from 'tfjs-flash-attention/graph';
import {readModelFile} from '../../src/cli/model_file';

const REPEATS = 7;

export interface Run {
  /** Median of several runs after one to warm up. */
  milliseconds: number;
  /** Bytes of tensors at the worst moment of a run, beyond those before it. */
  peakBytes: number;
}

export interface Comparison {
  report: Report;
  /** Cosines between the fused model's embeddings. */
  similarity: number[][];
  difference: number;
  runs: Record<'published' | 'fused', Run>;
}

/** Milliseconds of the fused model's second run, to choose a backend by. */
export async function fusedTime(modelPath: string, sentences: string[]): Promise<number> {
  const {artifacts} = await readModelFile(modelPath);
  const {model} = await loadFusedGraphModel({load: () => Promise.resolve(artifacts)});
  const inputs = modelInputs(await tokenizer(modelPath), sentences);
  await embed(model, inputs);
  const start = performance.now();
  await embed(model, inputs);
  const time = performance.now() - start;
  tf.dispose(inputs);
  model.dispose();
  return time;
}

export async function compare(modelPath: string, sentences: string[]): Promise<Comparison> {
  const {artifacts} = await readModelFile(modelPath);
  const handler = {load: () => Promise.resolve(artifacts)};
  const published = await loadGraphModel(handler);
  const {model: fused, report} = await loadFusedGraphModel(handler);
  const inputs = modelInputs(await tokenizer(modelPath), sentences);

  const before = await embed(published, inputs);
  const after = await embed(fused, inputs);
  const runs = {published: await measure(published, inputs), fused: await measure(fused, inputs)};
  tf.dispose(inputs);
  published.dispose();
  fused.dispose();
  return {report, similarity: cosines(after, sentences.length), difference: largestDifference(before, after), runs};
}

async function tokenizer(modelPath: string): Promise<Tokenizer> {
  const path = join(dirname(modelPath), 'vocab.json');
  try {
    return new Tokenizer(JSON.parse(await readFile(path, 'utf8')) as Array<[string, number]>);
  } catch {
    throw new Error(`Cannot read the vocabulary ${path}.`);
  }
}

/** Token ids of all sentences in a row, and for each its sentence and position: the model's own input format. */
function modelInputs(words: Tokenizer, sentences: string[]): tf.NamedTensorMap {
  const tokens = sentences.map(sentence => words.encode(sentence));
  const places = tokens.flatMap((ids, sentence) => ids.map((_, position) => [sentence, position]));
  return {indices: tf.tensor2d(places, [places.length, 2], 'int32'), values: tf.tensor1d(tokens.flat(), 'int32')};
}

async function embed(model: GraphModel, inputs: tf.NamedTensorMap): Promise<Float32Array> {
  const output = (await model.executeAsync(inputs)) as tf.Tensor;
  const values = (await output.data()) as Float32Array;
  output.dispose();
  return values;
}

async function measure(model: GraphModel, inputs: tf.NamedTensorMap): Promise<Run> {
  const times: number[] = [];
  for (let n = 0; n < REPEATS; n++) {
    const start = performance.now();
    await embed(model, inputs);
    times.push(performance.now() - start);
  }
  const bytesBefore = tf.memory().numBytes;
  const {peakBytes} = await tf.profile(() => model.executeAsync(inputs));
  return {milliseconds: times.sort((a, b) => a - b)[REPEATS >> 1], peakBytes: peakBytes - bytesBefore};
}

/** The embeddings have length 1, but for rounding. */
function cosines(embeddings: Float32Array, count: number): number[][] {
  const width = embeddings.length / count;
  const row = (n: number): Float32Array => embeddings.subarray(n * width, (n + 1) * width);
  const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, x, i) => sum + x * b[i], 0);
  return Array.from({length: count}, (_, i) =>
    Array.from(
      {length: count},
      (_unused, j) => dot(row(i), row(j)) / Math.sqrt(dot(row(i), row(i)) * dot(row(j), row(j))),
    ),
  );
}

/** NaN where either has one. */
function largestDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return NaN;
  return a.reduce((worst, x, i) => (Math.abs(x - b[i]) <= worst ? worst : Math.abs(x - b[i])), 0);
}
