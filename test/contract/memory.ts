/** No array, buffer or texture of Sq × Sk elements, forward or backward; what is held grows with N, not with N². */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention} from '../../src';
import type {FlashAttentionOptions} from '../../src';
import type {Selection} from '../cases';
import {normalNumbers} from '../inputs';
import {check} from './contract_test';
import type {ContractTest} from './contract_test';
import {largestAllocation, peakTensorBytes} from './allocations';

/** As most cases of the table: what is compiled for them serves here, too. */
const D = 8;

/** Lets `work` run on [1, 1, N, D] tensors and their options. */
async function onSequence<T>(N: number, work: (x: Sequence) => Promise<T>): Promise<T> {
  const make = (seed: number): tf.Tensor => tf.tensor(normalNumbers(N * D, seed), [1, 1, N, D]);
  const x = {q: make(1), k: make(2), v: make(3), keyBias: tf.tensor(normalNumbers(N, 4), [N])};
  // On GPUs data travels on first use, which is not what is measured.
  await Promise.all(Object.values(x).map(async tensor => tf.dispose(await touched(tensor))));
  try {
    return await work(x);
  } finally {
    tf.dispose({...x});
  }
}

async function touched(x: tf.Tensor): Promise<tf.Tensor> {
  const y = tf.add(x, 0);
  await y.data();
  return y;
}

interface Sequence {
  q: tf.Tensor;
  k: tf.Tensor;
  v: tf.Tensor;
  /** One number per key. */
  keyBias: tf.Tensor;
}

type Work = [string, (x: Sequence) => tf.Tensor[]];

const forward = (options: (x: Sequence) => FlashAttentionOptions) => (x: Sequence) => [
  flashAttention(x.q, x.k, x.v, options(x)),
];
const backward = (options: (x: Sequence) => FlashAttentionOptions) => (x: Sequence) =>
  tf.grads((q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, keyBias: tf.Tensor) =>
    tf.sum(flashAttention(q, k, v, {...options(x), bias: keyBias})),
  )([x.q, x.k, x.v, x.keyBias]); // prettier-ignore

const WORKS: Work[] = [
  ['forward', forward(() => ({}))],
  ['forward, causal, bias, dropout', forward(x => ({causal: true, bias: x.keyBias, dropout: 0.1, seed: 1}))],
  ['gradients of q, k, v and a broadcast bias', backward(() => ({}))],
  ['gradients, causal, dropout', backward(() => ({causal: true, dropout: 0.1, seed: 1}))],
];

/** For slow places: no Philox and no sums of a bias's gradient, which take most of the time where plain loops or ops compute them. */
const QUICK_WORKS: Work[] = [
  WORKS[0],
  [
    'gradients of q, k and v, causal',
    x =>
      tf.grads((q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => tf.sum(flashAttention(q, k, v, {causal: true})))([
        x.q,
        x.k,
        x.v,
      ]),
  ],
];

function noSquare([name, work]: Work): ContractTest {
  return {
    name: `memory: nothing of Sq × Sk elements: ${name}`,
    run: () =>
      onSequence(N_SQUARE, async x => {
        const {elements, what} = await largestAllocation(async () => {
          const results = work(x);
          await results[0].data();
          tf.dispose(results);
        });
        const square = N_SQUARE * N_SQUARE;
        check(elements < square, `${what} of ${elements} elements is allocated, where Sq × Sk is ${square}`);
      }),
  };
}
/** Above the largest block of keys that the contract allows, 512. */
const N_SQUARE = 640;

function linear([name, work]: Work): ContractTest {
  const peak = (N: number): Promise<number> => onSequence(N, async x => peakTensorBytes(() => work(x)));
  return {
    name: `memory: grows with N, not N²: ${name}`,
    run: async () => {
      // Blocks of 512 keys, the contract's largest, grow 2.7 times from 384² to 512 · 768; squares 4 times.
      const [small, large] = [await peak(384), await peak(768)];
      check(small > 0 && large < 3 * small, `${small} bytes of tensors at N 384, but ${large} at N 768`);
    },
  };
}

/** Plain ops do make the square: were it not seen, the tests above would say nothing. */
const squareIsSeen: ContractTest = {
  name: 'memory: the chain’s Sq × Sk is seen',
  run: () =>
    onSequence(N_SQUARE, async x => {
      const {elements} = await largestAllocation(async () => {
        const scores = tf.matMul(x.q, x.k, false, true);
        tf.dispose([scores, await touched(scores)]);
      });
      check(elements >= N_SQUARE * N_SQUARE, `the largest allocation seen is of ${elements} elements`);
    }),
};

/** libtensorflow allocates where no script sees it: there only tfjs's count and test/memory.test.ts speak. */
export function memoryTests(backend: string, selection: Selection): ContractTest[] {
  const squares = selection === 'all' ? WORKS : selection === 'glance' ? [WORKS[0]] : [WORKS[1], WORKS[3]];
  const growth = (selection === 'all' ? WORKS : QUICK_WORKS).map(linear);
  // The chain comes last: GPU backends keep its large buffers and would hand them out again.
  return backend === 'tensorflow' ? growth : [...squares.map(noSquare), ...growth, squareIsSeen];
}
