/**
 * How much faster is a whole model with its attention fused? An encoder of BERT-base's width with random weights, attention as in
 * BERT's graphs or as Keras's Einsums.
 *
 * npm run bench -- graph [cpu | wasm | tensorflow] [bert | keras] [positions] [layers]      verified before it is timed; CLOCK=cpu counts CPU time
 */
import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import {loadFusedGraphModel} from 'tfjs-flash-attention/graph';
import {BERT_BASE, encoder} from '../graph/transformer';
import {cpuClock, timeInTurn} from './measure';

const [backend = 'wasm', style = 'bert', positions = '512', layers = '12'] = process.argv.slice(2);

/** Layer norm keeps the values near 1. */
const TOLERANCE = 1e-3;

async function main(): Promise<void> {
  tf.env().set('PROD', true);
  if (backend === 'wasm') await import('@tensorflow/tfjs-backend-wasm');
  if (backend === 'tensorflow') await import('@tensorflow/tfjs-node');
  if (!(await tf.setBackend(backend))) throw new Error(`Backend '${backend}' does not start here.`);
  const artifacts = encoder(style as 'bert' | 'keras', {...BERT_BASE, layers: Number(layers)});
  const handler = {load: () => Promise.resolve(artifacts)};
  const plain = await loadGraphModel(handler);
  const {model: fused, report} = await loadFusedGraphModel(handler);
  const n = Number(positions);
  const mask = tf.tensor(
    Float32Array.from({length: n}, (_, j) => (j < 0.9 * n ? 0 : -1e4)),
    [1, 1, 1, n],
  );
  const inputs = {x: tf.randomNormal([1, n, BERT_BASE.width], 0, 1, 'float32', 1), ...(style === 'bert' && {mask})};

  const runs = style === 'keras' && backend === 'wasm' ? [] : [{name: 'as converted', model: plain}];
  runs.push({name: 'fused', model: fused});
  const outputs = runs.map(({model}) => model.predict(inputs) as tf.Tensor);
  const [difference] = tf.max(tf.abs(tf.sub(outputs[0], outputs[outputs.length - 1]))).dataSync();
  if (!(difference < TOLERANCE)) throw new Error(`The results differ by ${difference}.`);
  console.log(
    `${report.fused} of ${report.sites.length} sites fused; largest difference ${difference.toExponential(1)}`,
  );

  const contestants = runs.map(({name, model}) => ({
    name,
    run: async () => {
      const output = model.predict(inputs) as tf.Tensor;
      await output.data();
      output.dispose();
    },
  }));
  const timings = await timeInTurn(
    contestants,
    backend === 'tensorflow' ? 15 : 3,
    process.env.CLOCK === 'cpu' ? cpuClock : undefined,
  );
  console.table(timings.map(({name, ms, fastest, slowest}) => ({name, ms: Math.round(ms), fastest: Math.round(fastest), slowest: Math.round(slowest)}))); // prettier-ignore
  if (timings.length > 1)
    console.log(
      `${backend}, ${style}, ${n} positions, ${layers} layers: ${(timings[0].ms / timings[1].ms).toFixed(2)}×`,
    );
}

void main();
