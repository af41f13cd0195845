/** A small GPT from layers: blocks of causal attention with rotary embedding and of two Dense layers, each with a residual. */
import * as tf from '@tensorflow/tfjs';
import {multiHeadAttention} from 'tfjs-flash-attention/layers';
import {LayerNorm} from './norm';

export interface GptSizes {
  vocabulary: number;
  width: number;
  heads: number;
  blocks: number;
  dropout: number;
}

export function makeGpt({vocabulary, width, heads, blocks, dropout}: GptSizes, seed: number): tf.LayersModel {
  let nextSeed = seed;
  const kernel = () => tf.initializers.glorotUniform({seed: ++nextSeed});
  const apply = (layer: tf.layers.Layer, x: tf.SymbolicTensor | tf.SymbolicTensor[]) =>
    layer.apply(x) as tf.SymbolicTensor;
  const dense = (units: number, activation?: 'relu') =>
    tf.layers.dense({units, activation, kernelInitializer: kernel()});

  // Tokens come one-hot, so that the first Dense layer is the embedding and trains on every backend.
  const tokens = tf.input({shape: [null, vocabulary]});
  let x = apply(dense(width), tokens);
  for (let block = 0; block < blocks; block++) {
    const attention = multiHeadAttention({
      numHeads: heads,
      keyDim: width / heads,
      rotary: true,
      useCausalMask: true,
      dropout,
      seed: seed + block,
      kernelInitializer: kernel(),
    });
    x = apply(tf.layers.add(), [x, apply(attention, apply(new LayerNorm({}), x))]);
    const wide = apply(dense(4 * width, 'relu'), apply(new LayerNorm({}), x));
    x = apply(tf.layers.add(), [x, apply(dense(width), wide)]);
  }
  return tf.model({inputs: tokens, outputs: apply(dense(vocabulary), apply(new LayerNorm({}), x))});
}

/** In integers first: asked for float32, tfjs's wasm backend writes the integer's bits. */
export function oneHot(tokens: number[][], vocabulary: number): tf.Tensor {
  return tf.cast(tf.oneHot(tf.tensor2d(tokens, undefined, 'int32'), vocabulary), 'float32');
}

/** Cross entropy per character, in nats. */
export function lossOf(model: tf.LayersModel, inputs: tf.Tensor, targets: tf.Tensor, kwargs: object): tf.Scalar {
  const logits = model.apply(inputs, kwargs) as tf.Tensor;
  return tf.losses.softmaxCrossEntropy(targets, logits);
}
