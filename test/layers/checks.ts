/** What the layers must do on every backend, as functions that throw: Node's tests and the browser page both run them. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import {
  GroupedQueryAttention,
  MultiHeadAttention,
  multiHeadAttention,
  packSequences,
  unpackSequences,
} from 'tfjs-flash-attention/layers';
import {expectClose} from '../closeness';
import {normalNumbers} from '../inputs';

export function normal(shape: number[], seed: number): tf.Tensor {
  return tf.tensor(normalNumbers(tf.util.sizeFromShape(shape), seed), shape);
}

/** A layer whose weights are random, its biases too. */
function withRandomWeights<L extends tfl.layers.Layer>(layer: L, ...inputs: tf.Tensor[]): L {
  tf.dispose(layer.apply(inputs) as tf.Tensor);
  layer.setWeights(layer.getWeights().map((weight, n) => tf.mul(normal(weight.shape, 50 + n), 0.5)));
  return layer;
}

interface ChainSizes {
  H: number;
  Hkv: number;
  D: number;
  causal?: boolean;
  mask?: tf.Tensor;
  turn?: (x: tf.Tensor) => tf.Tensor;
  sinks?: tf.Tensor;
}

/** The same layer from matMul, softmax, matMul; weights in Keras's order. */
function chain(
  q: tf.Tensor,
  v: tf.Tensor,
  weights: tf.Tensor[],
  {H, Hkv, D, causal, mask, turn, sinks}: ChainSizes,
): tf.Tensor {
  const [wq, bq, wk, bk, wv, bv, wo, bo] = weights;
  const [B, T, E] = q.shape as [number, number, number];
  const S = v.shape[1]!;
  const heads = (x: tf.Tensor, w: tf.Tensor, b: tf.Tensor, n: number): tf.Tensor => {
    const rows = x.shape[1]!;
    const flat = tf.matMul(tf.reshape<tf.Rank.R2>(x, [-1, x.shape[2]!]), tf.reshape<tf.Rank.R2>(w, [x.shape[2]!, -1]));
    return tf.add(tf.reshape(flat, [B, rows, n, -1]), tf.reshape(b, [1, 1, n, -1]));
  };
  const first = (x: tf.Tensor): tf.Tensor => {
    const n = x.shape[2]!;
    const [, rows, , width] = x.shape as number[];
    const repeated = tf.tile(tf.reshape(x, [B * rows, n, 1, width]), [1, 1, H / n, 1]);
    return tf.transpose(tf.reshape(repeated, [B, rows, H, width]), [0, 2, 1, 3]);
  };
  const turned = turn ?? (x => x);
  let scores: tf.Tensor = tf.mul(tf.matMul(first(turned(heads(q, wq, bq, H))), first(turned(heads(v, wk, bk, Hkv))), false, true), 1 / Math.sqrt(D)); // prettier-ignore
  if (causal) {
    const hidden = Float32Array.from({length: T * S}, (_, n) => (n % S > Math.floor(n / S) ? -1e9 : 0));
    scores = tf.add(scores, tf.tensor(hidden, [T, S]));
  }
  if (mask) scores = tf.add(scores, tf.mul(tf.sub(1, tf.cast(mask, 'float32')), -1e9));
  if (sinks) scores = tf.concat([scores, tf.tile(tf.reshape(sinks, [1, H, 1, 1]), [B, 1, T, 1])], -1);
  const p = tf.slice(tf.softmax(scores), [0, 0, 0, 0], [B, H, T, S]);
  const context = tf.transpose(tf.matMul(p, first(heads(v, wv, bv, Hkv))), [0, 2, 1, 3]);
  const output = tf.matMul(tf.reshape<tf.Rank.R2>(context, [B * T, -1]), tf.reshape<tf.Rank.R2>(wo, [-1, E]));
  return tf.reshape(tf.add(output, bo), [B, T, E]);
}

/** Output and the gradients of inputs and weights agree with the chain's. */
async function expectChain(
  layer: tfl.layers.Layer,
  q: tf.Tensor,
  v: tf.Tensor,
  kwargs: Record<string, unknown>,
  sizes: ChainSizes,
) {
  const target = normal(q.shape, 99);
  const weights = layer.weights.map(weight => (weight as unknown as {val: tf.Variable}).val);
  const own = (): tf.Tensor => layer.apply([q, v], kwargs) as tf.Tensor;
  const other = (): tf.Tensor => chain(q, v, weights, {...sizes, sinks: sizes.sinks && weights[weights.length - 1]});
  expectClose('output', await own().data(), await other().data(), 2e-5, q.shape);
  const loss = (f: () => tf.Tensor) => (): tf.Scalar => tf.sum<tf.Scalar>(tf.mul(f(), target));
  const ownGrads = tf.variableGrads(loss(own), weights).grads;
  const otherGrads = tf.variableGrads(loss(other), weights).grads;
  for (const {name, shape} of weights) {
    expectClose(`gradient of ${name}`, await ownGrads[name].data(), await otherGrads[name].data(), 2e-4, shape);
  }
}

/** Rotary embedding as its definition: channel pairs as complex numbers, turned on the host. */
function turnedOnHost(
  x: Float32Array,
  [B, S, H, D]: number[],
  base: number,
  interleaved: boolean,
  positionOf: (b: number, i: number) => number,
) {
  const out = new Float32Array(x.length);
  for (let row = 0; row < B * S * H; row++) {
    const position = positionOf(Math.floor(row / (S * H)), Math.floor(row / H) % S);
    for (let c = 0; c < D / 2; c++) {
      const [a, b] = interleaved ? [2 * c, 2 * c + 1] : [c, c + D / 2];
      const angle = position * base ** ((-2 * c) / D);
      out[row * D + a] = x[row * D + a] * Math.cos(angle) - x[row * D + b] * Math.sin(angle);
      out[row * D + b] = x[row * D + b] * Math.cos(angle) + x[row * D + a] * Math.sin(angle);
    }
  }
  return out;
}

/** The same with tfjs ops, for gradients; checked against the host's here. */
async function turner(base: number, interleaved: boolean, offset: number): Promise<(x: tf.Tensor) => tf.Tensor> {
  const turn = (x: tf.Tensor): tf.Tensor => {
    const [, S, , D] = x.shape as number[];
    const matrix = new Float32Array(S * D * D); // one rotation matrix per position
    for (let i = 0; i < S; i++) {
      for (let c = 0; c < D / 2; c++) {
        const [a, b] = interleaved ? [2 * c, 2 * c + 1] : [c, c + D / 2];
        const angle = (i + offset) * base ** ((-2 * c) / D);
        matrix[(i * D + a) * D + a] = matrix[(i * D + b) * D + b] = Math.cos(angle);
        matrix[(i * D + b) * D + a] = -Math.sin(angle);
        matrix[(i * D + a) * D + b] = Math.sin(angle);
      }
    }
    const rows = tf.transpose(x, [1, 0, 2, 3]);
    const flat = tf.reshape(rows, [S, -1, D]);
    return tf.transpose(tf.reshape(tf.matMul(flat, tf.tensor3d(matrix, [S, D, D])), rows.shape), [1, 0, 2, 3]);
  };
  const x = normal([2, 3, 2, 4], 1);
  const host = turnedOnHost((await x.data()) as Float32Array, x.shape, base, interleaved, (_, i) => i + offset);
  expectClose('the chain’s rotation', await turn(x).data(), host, 1e-6);
  return turn;
}

const upper = (H: number, D: number): {numHeads: number; keyDim: number} => ({numHeads: H, keyDim: D});

export const layerChecks: Record<string, () => Promise<void>> = {
  async 'MultiHeadAttention agrees with the chain, forward and backward'() {
    const layer = withRandomWeights(new MultiHeadAttention(upper(3, 5)), normal([2, 7, 6], 1), normal([2, 9, 6], 2));
    await expectChain(layer, normal([2, 7, 6], 3), normal([2, 9, 6], 4), {}, {H: 3, Hkv: 3, D: 5});
  },
  async 'MultiHeadAttention agrees with the chain, causal'() {
    const layer = withRandomWeights(new MultiHeadAttention(upper(2, 4)), normal([2, 9, 6], 1), normal([2, 9, 6], 2));
    await expectChain(
      layer,
      normal([2, 9, 6], 3),
      normal([2, 9, 6], 4),
      {useCausalMask: true},
      {H: 2, Hkv: 2, D: 4, causal: true},
    );
  },
  async 'MultiHeadAttention agrees with the chain under an attention mask'() {
    const layer = withRandomWeights(new MultiHeadAttention(upper(2, 4)), normal([2, 5, 6], 1), normal([2, 7, 6], 2));
    const visible = Float32Array.from({length: 2 * 5 * 7}, (_, n) => (n % 3 === 0 || n % 7 === 1 ? 1 : 0));
    const attentionMask = tf.tensor(visible, [2, 5, 7]);
    const kwargs = {attentionMask};
    await expectChain(layer, normal([2, 5, 6], 3), normal([2, 7, 6], 4), kwargs, {
      H: 2,
      Hkv: 2,
      D: 4,
      mask: tf.expandDims(attentionMask, 1),
    });
  },
  async 'GroupedQueryAttention with rotary embedding and sinks agrees with the chain'() {
    for (const interleaved of [false, true]) {
      const rotary = {base: 500, interleaved, positionOffset: 3};
      const args = {numQueryHeads: 4, numKeyValueHeads: 2, headDim: 6, rotary, useSinks: true};
      const layer = withRandomWeights(new GroupedQueryAttention(args), normal([2, 9, 8], 1), normal([2, 9, 8], 2));
      const turn = await turner(500, interleaved, 3);
      const sizes = {H: 4, Hkv: 2, D: 6, turn, causal: true, sinks: tf.zeros([4])};
      await expectChain(layer, normal([2, 9, 8], 3), normal([2, 9, 8], 4), {useCausalMask: true}, sizes);
    }
  },
  async 'scores of the unfused path add up, and its output is the fused one'() {
    const args = {numQueryHeads: 4, numKeyValueHeads: 2, headDim: 6, useSinks: true};
    const layer = withRandomWeights(new GroupedQueryAttention(args), normal([2, 5, 8], 1));
    const x = normal([2, 5, 8], 3);
    const fused = layer.apply(x, {useCausalMask: true}) as tf.Tensor;
    const [output, scores] = layer.apply(x, {useCausalMask: true, returnAttentionScores: true}) as tf.Tensor[];
    expectClose('output', await output.data(), await fused.data(), 1e-5);
    if (`${scores.shape}` !== '2,4,5,5') throw new Error(`scores have shape ${scores.shape}`);
    const sums = await tf.sum(scores, -1).data();
    if (!sums.every(sum => sum > 0 && sum < 1)) throw new Error('with a sink, scores of a row add up to less than 1');
  },
  async 'packed sequences give what each gives alone'() {
    const layer = withRandomWeights(new MultiHeadAttention({...upper(2, 4), rotary: true}), normal([1, 5, 6], 1));
    const sequences = [5, 1, 9, 3].map((length, n) => normal([length, 6], 20 + n));
    for (const maxLength of [undefined, 9]) {
      const packed = packSequences(sequences, {maxLength});
      const {values, segmentIds, positions} = packed;
      const together = layer.apply(values, {segmentIds, positions, useCausalMask: true}) as tf.Tensor;
      const outputs = unpackSequences(together, packed);
      for (const [n, sequence] of sequences.entries()) {
        const alone = layer.apply(tf.expandDims(sequence, 0), {useCausalMask: true}) as tf.Tensor;
        expectClose(`sequence ${n}`, await outputs[n].data(), await alone.data(), 1e-6);
      }
    }
  },
  async 'a model in which the layers stand is trained, with dropout'() {
    const tokens = tfl.input({shape: [6]});
    // Not trained, as tfjs has no gradient of Embedding on wasm.
    const words = tfl.layers.embedding({
      inputDim: 5,
      outputDim: 8,
      maskZero: true,
      trainable: false,
      embeddingsInitializer: tfl.initializers.randomUniform({minval: -1, maxval: 1, seed: 1}),
    });
    const embedded = words.apply(tokens) as tfl.SymbolicTensor;
    const attention = multiHeadAttention({
      ...upper(2, 4),
      dropout: 0.1,
      seed: 3,
      kernelInitializer: tfl.initializers.glorotUniform({seed: 2}),
    });
    const attended = attention.apply(embedded, {value: embedded, useCausalMask: true}) as tfl.SymbolicTensor;
    const joined = tfl.layers.add().apply([embedded, attended]) as tfl.SymbolicTensor;
    const logits = tfl.layers
      .dense({units: 5, activation: 'softmax', kernelInitializer: tfl.initializers.glorotUniform({seed: 3})})
      .apply(joined) as tfl.SymbolicTensor;
    const model = tfl.model({inputs: tokens, outputs: logits});
    // tfjs's own test mode takes stock Dense layers in training for a leak on wasm and tensorflow.
    tf.env().set('IS_TEST', false);
    model.compile({optimizer: tf.train.adam(0.05), loss: 'sparseCategoricalCrossentropy'});
    // The next token is the same again: what the last place shows.
    const x = tf.tensor2d([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 0, 0, 4, 4, 4, 4, 4, 4], [4, 6]);
    const y = tf.expandDims(x, -1);
    const losses: number[] = [];
    for (let step = 0; step < 6; step++) losses.push((await model.trainOnBatch(x, y)) as number);
    const [first, last] = [losses[0], losses[5]];
    if (!(last < 0.8 * first)) throw new Error(`loss went from ${first} to ${last}`);
    tf.dispose(model.predict(x)); // the optimizer's and the model's own tensors are there now
    const before = tf.memory().numTensors;
    tf.dispose(model.predict(x));
    tf.dispose(await model.trainOnBatch(x, y));
    if (tf.memory().numTensors !== before) throw new Error(`${tf.memory().numTensors - before} tensors leak`);
    model.dispose();
    tf.env().set('IS_TEST', true);
  },
};
