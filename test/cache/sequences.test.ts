/**
 * Random sequences of append, truncate, reorder, fork and dispose (fast-check) against lists of tokens in plain arrays. The
 * sequences are the same in every run; FAST_CHECK_SEED=… tries others.
 */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import {KVCache} from 'tfjs-flash-attention/layers';
import {expectClose} from '../closeness';
import {describeOn, type NodeBackend} from '../harness/node';
import {normalNumbers} from '../inputs';

const SEED = Number(process.env.FAST_CHECK_SEED ?? 2022);
const [LAYERS, H, Hkv, D, Dv] = [2, 4, 2, 3, 2];
const CAPACITY = 10;
const SIZES = {layers: LAYERS, heads: Hkv, headDim: D, valueDim: Dv, capacity: CAPACITY, pageSize: 3};

/** Keys and values of one token, head after head. */
interface Token {
  k: Float32Array;
  v: Float32Array;
}

/** By layer and sequence. */
type Lists = Token[][][];

interface Pair {
  lists: Lists;
  cache: KVCache;
}

interface State {
  pairs: Pair[];
  grow: boolean;
  /** Seed of the next tokens. */
  next: number;
}

type Step = fc.Command<State, null>;
const step = (name: string, run: (state: State) => void): Step => ({check: () => true, run, toString: () => name});
const pairAt = ({pairs}: State, which: number): Pair => pairs[which % pairs.length];

/** Of B × n tokens, sequence by sequence: [B, Hkv, n, width]. */
function stacked(rows: Token[][], part: 'k' | 'v', width: number): tf.Tensor {
  const n = rows[0].length;
  const values = rows.flatMap(tokens =>
    Array.from({length: Hkv}, (_, h) => tokens.flatMap(token => [...token[part].slice(h * width, (h + 1) * width)])),
  );
  return tf.tensor(values.flat(), [rows.length, Hkv, n, width]);
}

function append(which: number, layer: number, n: number, shares: number[]): Step {
  return step(`append(${which}, layer ${layer}, ${n}, ${shares})`, state => {
    const {lists, cache} = pairAt(state, which);
    const rows = lists[layer].map(() =>
      Array.from({length: n}, (): Token => ({k: normalNumbers(Hkv * D, state.next++), v: normalNumbers(Hkv * Dv, state.next++)})),
    ); // prettier-ignore
    const lengths = rows.map((_, b) => Math.round(shares[b % shares.length] * n));
    const tooLong = !state.grow && lists[layer].some((tokens, b) => tokens.length + lengths[b] > CAPACITY);
    tf.tidy(() => {
      const work = (): void => cache.append(layer, stacked(rows, 'k', D), stacked(rows, 'v', Dv), {lengths});
      if (tooLong) return void expect(work).toThrow(`the cache's capacity (${CAPACITY})`);
      work();
      lists[layer] = lists[layer].map((tokens, b) => [...tokens, ...rows[b].slice(0, lengths[b])]);
    });
    expectSame(state, which);
  });
}

function truncate(which: number, shares: number[]): Step {
  return step(`truncate(${which}, ${shares})`, state => {
    const pair = pairAt(state, which);
    const longest = Math.max(...pair.lists.flat().map(tokens => tokens.length));
    const wanted = pair.lists[0].map((_, b) => Math.round(shares[b % shares.length] * longest));
    pair.cache.truncate(shares.length === 1 ? wanted[0] : wanted);
    pair.lists = pair.lists.map(layer => layer.map((tokens, b) => tokens.slice(0, wanted[b])));
    expectSame(state, which);
  });
}

function reorder(which: number, picks: number[]): Step {
  return step(`reorder(${which}, ${picks})`, state => {
    const pair = pairAt(state, which);
    const indices = picks.map(pick => pick % pair.cache.batch);
    pair.cache.reorder(indices);
    pair.lists = pair.lists.map(layer => indices.map(b => layer[b]));
    expectSame(state, which);
  });
}

function fork(which: number): Step {
  return step(`fork(${which})`, state => {
    const {lists, cache} = pairAt(state, which);
    const before = tf.memory().numTensors;
    state.pairs.push({lists: lists.map(layer => [...layer]), cache: cache.fork()});
    expect(tf.memory().numTensors).toBe(before);
  });
}

function dispose(which: number): Step {
  return step(`dispose(${which})`, state => {
    if (state.pairs.length === 1) return;
    pairAt(state, which).cache.dispose();
    state.pairs.splice(which % state.pairs.length, 1);
  });
}

/** Every cache, the forks too, holds its own lists: by lengths and by what one query sees. */
function expectSame({pairs}: State, seed: number): void {
  for (const {lists, cache} of pairs) {
    for (let layer = 0; layer < LAYERS; layer++) {
      expect(cache.lengths(layer)).toEqual(lists[layer].map(tokens => tokens.length));
      const query = normalNumbers(cache.batch * H * D, seed);
      const expected = attended(query, lists[layer]);
      tf.tidy(() => {
        const q = tf.tensor(query, [cache.batch, H, 1, D]);
        // The last query sees every key, causal or not.
        for (const causal of [false, true]) {
          const output = cache.attend(q, layer, {causal});
          expectClose(`layer ${layer}, causal ${causal}`, output.dataSync(), expected, 1e-5, output.shape);
        }
      });
    }
  }
}

/** softmax(q · k / √D) · v for one query a head and sequence, [B, H, Dv]; 0 without keys. */
function attended(query: Float32Array, sequences: Token[][]): Float64Array {
  const output = new Float64Array(sequences.length * H * Dv);
  sequences.forEach((tokens, b) => {
    for (let h = 0; h < H; h++) {
      const hkv = Math.floor((h * Hkv) / H);
      const dot = ({k}: Token): number =>
        Array.from({length: D}, (_, d) => query[(b * H + h) * D + d] * k[hkv * D + d]).reduce((x, y) => x + y);
      const weights = tokens.map(token => Math.exp(dot(token) / Math.sqrt(D)));
      const sum = weights.reduce((x, y) => x + y, 0);
      tokens.forEach(({v}, j) => {
        for (let e = 0; e < Dv; e++) output[(b * H + h) * Dv + e] += (weights[j] / sum) * v[hkv * Dv + e];
      });
    }
  });
  return output;
}

const which = fc.nat({max: 5});
const shares = fc.array(fc.constantFrom(1, 1, 0.7, 0.5, 0), {minLength: 1, maxLength: 3});
const appends = fc
  .tuple(which, fc.nat({max: LAYERS - 1}), fc.integer({min: 1, max: 5}), shares)
  .map(args => append(...args));
const steps = fc.commands(
  [
    appends,
    appends,
    fc.tuple(which, shares).map(args => truncate(...args)),
    fc.tuple(which, fc.array(fc.nat({max: 11}), {minLength: 1, maxLength: 3})).map(args => reorder(...args)),
    which.map(fork),
    which.map(dispose),
  ],
  {maxCommands: 16},
);

// Pages are written in place on cpu, anew on tensorflow.
describe.each<NodeBackend>(['cpu', 'tensorflow'])('%s', backend => {
  describeOn(backend, 'a cache under random steps', () => {
    it('holds what plain lists hold, and gives every tensor back', () => {
      const run = (sequence: Iterable<Step>, grow: boolean, batch: number): void => {
        const before = tf.memory().numTensors;
        const lists = Array.from({length: LAYERS}, () => Array.from({length: batch}, (): Token[] => []));
        const state = {pairs: [{lists, cache: new KVCache({...SIZES, batch, grow})}], grow, next: 1};
        try {
          fc.modelRun(() => ({model: state, real: null}), sequence);
        } finally {
          for (const {cache} of state.pairs) cache.dispose();
        }
        expect(tf.memory().numTensors).toBe(before);
      };
      fc.assert(fc.property(steps, fc.boolean(), fc.integer({min: 1, max: 3}), run), {seed: SEED, numRuns: 60});
    });
  });
});
