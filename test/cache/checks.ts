/** What the cache must do on every backend, as functions that throw: Node's tests and the browser page both run them. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import {flashAttention} from 'tfjs-flash-attention';
import {GroupedQueryAttention, KVCache, multiHeadAttention} from 'tfjs-flash-attention/layers';
import {expectClose} from '../closeness';
import {normal} from '../layers/checks';

const [B, H, Hkv, D] = [2, 4, 2, 6];

interface Tokens {
  k: tf.Tensor;
  v: tf.Tensor;
}

const make = (n: number, seed: number): Tokens => ({
  k: normal([B, Hkv, n, D], seed),
  v: normal([B, Hkv, n, D], seed + 1),
});
const join = (parts: Tokens[]): Tokens => ({k: tf.concat(parts.map(({k}) => k), 2), v: tf.concat(parts.map(({v}) => v), 2)}); // prettier-ignore
const row = (x: tf.Tensor, b: number): tf.Tensor => tf.slice(x, [b, 0, 0, 0], [1, ...x.shape.slice(1)]);
const first = (x: tf.Tensor, n: number): tf.Tensor =>
  tf.slice(x, [0, 0, 0, 0], [x.shape[0], x.shape[1]!, n, x.shape[3]!]);

async function same(what: string, actual: tf.Tensor, expected: tf.Tensor, tolerance = 4e-6): Promise<void> {
  expectClose(what, await actual.data(), await expected.data(), tolerance, actual.shape);
}

function build(layer: tfl.layers.Layer, width: number): void {
  tf.dispose(layer.apply(tf.zeros([1, 2, width])) as tf.Tensor);
  layer.setWeights(layer.getWeights().map((weight, n) => tf.mul(normal(weight.shape, 70 + n), 0.4)));
}

export const cacheChecks: Record<string, () => Promise<void>> = {
  async 'attention over pages is attention over one tensor'() {
    const cache = new KVCache({layers: 1, batch: B, heads: Hkv, headDim: D, capacity: 64, pageSize: 4});
    const chunks = [make(5, 1), make(1, 3), make(1, 5), make(10, 7), make(1, 9)];
    const bias = normal([1, H, 1, 18], 30);
    for (const [n, {k, v}] of chunks.entries()) {
      cache.append(0, k, v);
      const whole = join(chunks.slice(0, n + 1));
      const q = normal([B, H, k.shape[2]!, D], 20 + n);
      for (const options of [
        {causal: true},
        {causal: true, window: [3, 0] as [number, number], sinks: [0.5, 0, 1, -1]},
        {softcap: 2},
      ]) {
        await same(`chunk ${n}`, cache.attend(q, 0, options), flashAttention(q, whole.k, whole.v, options));
      }
    }
    const q = normal([B, H, 1, D], 40);
    const whole = join(chunks);
    await same('bias', cache.attend(q, 0, {bias}), flashAttention(q, whole.k, whole.v, {bias}));
    cache.dispose();
  },

  async 'sequences of different lengths are kept apart'() {
    const cache = new KVCache({layers: 1, batch: B, heads: Hkv, headDim: D, capacity: 32, pageSize: 4});
    const prompt = make(7, 1);
    cache.append(0, prompt.k, prompt.v, {lengths: [7, 3]});
    const q = normal([B, H, 7, D], 9);
    const attended = cache.attend(q, 0, {causal: true});
    const tokens = [make(1, 11), make(3, 13)];
    for (const {k, v} of tokens) cache.append(0, k, v);
    if (`${cache.lengths()}` !== '11,7') throw new Error(`lengths are ${cache.lengths()}`);
    const last = normal([B, H, 3, D], 15);
    const decoded = cache.attend(last, 0, {causal: true});
    for (const [b, length] of [7, 3].entries()) {
      const own = {k: first(row(prompt.k, b), length), v: first(row(prompt.v, b), length)};
      const expected = flashAttention(first(row(q, b), length), own.k, own.v, {causal: true});
      await same(`prompt ${b}`, first(row(attended, b), length), expected);
      const all = join([own, ...tokens.map(({k, v}) => ({k: row(k, b), v: row(v, b)}))]);
      await same(`continuation ${b}`, row(decoded, b), flashAttention(row(last, b), all.k, all.v, {causal: true}));
    }
    cache.dispose();
  },

  async 'truncate, fork and reorder'() {
    const options = {layers: 2, batch: B, heads: Hkv, headDim: D, capacity: 32, pageSize: 4};
    const cache = new KVCache({...options, layout: 'BHSD'});
    const [prompt, a, b] = [make(6, 1), make(3, 3), make(3, 5)];
    cache.append(1, prompt.k, prompt.v);
    const before = tf.memory().numTensors;
    const fork = cache.fork();
    if (tf.memory().numTensors !== before) throw new Error('a fork made tensors');
    cache.append(1, a.k, a.v);
    fork.append(1, b.k, b.v);
    const q = normal([B, H, 1, D], 9);
    const attended = (c: KVCache): tf.Tensor => c.attend(q, 1);
    const over = (parts: Tokens[], of = q): tf.Tensor => flashAttention(of, join(parts).k, join(parts).v);
    await same('the original', attended(cache), over([prompt, a]));
    await same('the fork', attended(fork), over([prompt, b]));
    fork.truncate(6);
    await same('the fork, cut', attended(fork), over([prompt]));
    fork.append(1, a.k, a.v);
    await same('the fork, continued', attended(fork), over([prompt, a]));
    cache.dispose();
    fork.reorder([1, 1, 0]);
    if (fork.batch !== 3) throw new Error(`batch is ${fork.batch}`);
    const three = tf.gather(q, [1, 1, 0], 0);
    const swapped = [prompt, a].map(({k, v}) => ({k: tf.gather(k, [1, 1, 0], 0), v: tf.gather(v, [1, 1, 0], 0)}));
    await same('beams', fork.attend(three, 1), over(swapped, three));
    fork.dispose();
  },

  'a model decodes with the cache what it computes at once': () => decodesWithCache('BHSD'),
  'a model decodes with a cache of the other layout': () => decodesWithCache('BSHD'),

  async 'hidden places may hold NaN and infinities'() {
    const cache = new KVCache({layers: 1, batch: B, heads: Hkv, headDim: D, capacity: 16, pageSize: 8});
    const [good, poison] = [make(3, 1), tf.fill([B, Hkv, 4, D], NaN)];
    cache.append(0, good.k, good.v);
    cache.append(0, poison, poison);
    cache.truncate(3);
    const q = normal([B, H, 1, D], 3);
    await same('after truncate', cache.attend(q, 0), flashAttention(q, good.k, good.v));
    cache.dispose();
  },
};

async function decodesWithCache(layout: 'BHSD' | 'BSHD'): Promise<void> {
  const x = tfl.input({shape: [null, 8]});
  const args = {numQueryHeads: 4, numKeyValueHeads: 2, headDim: 6, rotary: {interleaved: true}, useSinks: true};
  const [one, two] = [
    new GroupedQueryAttention(args),
    multiHeadAttention({numHeads: 2, keyDim: 6, rotary: true, valueDim: 6}),
  ];
  build(one, 8);
  build(two, 8);
  const hidden = one.apply(x, {useCausalMask: true}) as tfl.SymbolicTensor;
  const model = tfl.model({inputs: x, outputs: two.apply(hidden, {useCausalMask: true}) as tfl.SymbolicTensor});
  const tokens = normal([B, 9, 8], 1);
  const expected = model.apply(tokens) as tf.Tensor;
  const cache = new KVCache({layers: 2, batch: B, heads: 2, headDim: 6, capacity: 16, pageSize: 4, layout});
  let at = 0;
  for (const n of [4, 1, 1, 3]) {
    const part = tf.slice(tokens, [0, at, 0], [B, n, 8]);
    const output = model.apply(part, {cache}) as tf.Tensor;
    await same(`tokens from ${at}`, output, tf.slice(expected, [0, at, 0], [B, n, 8]), 1e-5);
    at += n;
  }
  // Ragged prompts: the second sequence has one token less, and goes on right after it.
  cache.truncate(0);
  const prompt = tf.slice(tokens, [0, 0, 0], [B, 4, 8]);
  tf.dispose(model.apply(prompt, {cache, lengths: [4, 3]}) as tf.Tensor);
  const next = tf.stack([tf.slice(tokens, [0, 4, 0], [1, 1, 8]), tf.slice(tokens, [1, 3, 0], [1, 1, 8])], 0);
  const output = model.apply(tf.reshape(next, [B, 1, 8]), {cache}) as tf.Tensor;
  await same('first', tf.slice(output, [0, 0, 0], [1, 1, 8]), tf.slice(expected, [0, 4, 0], [1, 1, 8]), 1e-5);
  await same('second', tf.slice(output, [1, 0, 0], [1, 1, 8]), tf.slice(expected, [1, 3, 0], [1, 1, 8]), 1e-5);
  cache.dispose();
  model.dispose();
}
