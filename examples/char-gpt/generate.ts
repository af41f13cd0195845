/** Generation: the prompt goes through the model once, then each character alone, with the cache holding all earlier ones. */
import * as tf from '@tensorflow/tfjs';
import {KVCache} from 'tfjs-flash-attention/layers';
import {oneHot} from './model';

export interface GenerateOptions {
  length: number;
  /** Above 1 bolder, towards 0 surer. */
  temperature: number;
  random: () => number;
  heads: number;
  headDim: number;
  blocks: number;
}

export async function generate(model: tf.LayersModel, prompt: number[], options: GenerateOptions): Promise<number[]> {
  const {length, temperature, random, heads, headDim, blocks} = options;
  const vocabulary = model.inputs[0].shape[2]!;
  const cache = new KVCache({layers: blocks, batch: 1, heads, headDim, capacity: prompt.length + length});
  const tokens = [...prompt];
  let next = prompt;
  while (tokens.length < prompt.length + length) {
    const probabilities = tf.tidy(() => {
      const logits = model.apply(oneHot([next], vocabulary), {cache}) as tf.Tensor;
      const last = tf.slice(logits, [0, next.length - 1, 0], [1, 1, vocabulary]);
      return tf.softmax(tf.div(tf.reshape(last, [vocabulary]), temperature));
    });
    const token = draw(await probabilities.data(), random());
    probabilities.dispose();
    tokens.push(token);
    next = [token];
  }
  cache.dispose();
  return tokens;
}

function draw(probabilities: ArrayLike<number>, at: number): number {
  let sum = 0;
  for (let token = 0; token < probabilities.length; token++) {
    sum += probabilities[token];
    if (at < sum) return token;
  }
  return probabilities.length - 1;
}
