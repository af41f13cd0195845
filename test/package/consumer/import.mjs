/** Prints what an ES module gets: the entries in argv, and which backends importing them brought along. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention} from 'tfjs-flash-attention';

const modules = await Promise.all(process.argv.slice(2).map(entry => import(entry)));
const backends = Object.keys(tf.engine().registryFactory);

await import('@tensorflow/tfjs-backend-cpu');
tf.env().set('IS_TEST', true);
await tf.setBackend('cpu');
const output = flashAttention([[1, 0]], [[1, 0], [0, 1]], [[1], [3]], {scale: 0}); // prettier-ignore
console.log(JSON.stringify({names: modules.map(Object.keys), backends, output: [...output.dataSync()]}));
