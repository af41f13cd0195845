/** Loads the package as ES module and as CommonJS in one process; prints what either computes. tfjs warns of double registration. */
import {createRequire} from 'node:module';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import * as imported from 'tfjs-flash-attention';

const required = createRequire(import.meta.url)('tfjs-flash-attention');
tf.env().set('IS_TEST', true);
await tf.setBackend('cpu');
const run = ({flashAttention}) => flashAttention([[1, 0]], [[1, 0], [0, 1]], [[1], [3]], {scale: 0}).dataSync(); // prettier-ignore
const copies = imported.flashAttention === required.flashAttention ? 1 : 2;
console.log(JSON.stringify({copies, outputs: [[...run(imported)], [...run(required)]]}));
