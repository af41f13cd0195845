/** The same call gives the same bits, run after run, and asks for the same dropped set on every backend. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention} from '../../src';
import {attentionCase, caseNamed, isPartOf} from '../cases';
import type {Selection} from '../cases';
import {expectSameBits} from '../closeness';
import {makeInputs, normalNumbers} from '../inputs';
import {dropoutFactor} from '../reference';
import {check} from './contract_test';
import type {ContractTest} from './contract_test';
import {runFlash, runForward} from './run_case';

const REPEATED = [
  '113×203',
  'everything at once',
  'decode, grouped, 4 filled caches',
  'bias [2,1,65,70] over tiles',
  'dropout over tiles',
];

function repeats(name: string): ContractTest {
  const c = caseNamed(name);
  return {
    name: `deterministic: ${name}`,
    run: async () => {
      const inputs = makeInputs(c);
      const first = await runFlash(c, inputs);
      const forward = await runForward(c, inputs);
      for (let again = 0; again < 2; again++) {
        const {output, lse, gradients} = await runFlash(c, inputs);
        expectSameBits(`${name}: output again`, output, first.output);
        expectSameBits(`${name}: lse again`, lse, first.lse);
        for (const [tensor, values] of Object.entries(first.gradients)) {
          expectSameBits(`${name}: gradient of ${tensor} again`, gradients[tensor as 'q']!, values);
        }
        expectSameBits(`${name}: output of flashAttention again`, await runForward(c, inputs), forward);
      }
    },
  };
}

/** Equal scores and an identity for v: the output is the dropped set itself. */
function droppedSet(dropout: number, seed: number): ContractTest {
  const [B, H, S] = [2, 3, 70];
  const c = attentionCase('dropped set', {B, H, Sq: S, Sk: S, D: 1, Dv: S, options: {dropout, seed}});
  return {
    name: `dropped set is Philox's: p ${dropout}, seed ${seed}`,
    run: async () => {
      const q = tf.zeros([B, H, S, 1]);
      const v = tf.tidy(() => tf.tile(tf.reshape(tf.eye(S), [1, 1, S, S]), [B, H, 1, 1]));
      const output = flashAttention(q, q, v, {dropout, seed});
      const values = await output.data();
      tf.dispose([q, v, output]);
      let n = 0;
      let dropped = 0;
      for (let b = 0; b < B; b++) {
        for (let h = 0; h < H; h++) {
          for (let i = 0; i < S; i++) {
            for (let j = 0; j < S; j++, n++) {
              const factor = dropoutFactor(c, b, h, i, j);
              if (factor === 0) dropped++;
              const wrong = Math.abs(values[n] - factor / S) > (1e-5 * factor) / S;
              check(!wrong, `weight at [${[b, h, i, j]}] is ${values[n]}, expected ${factor / S}`);
            }
          }
        }
      }
      const share = dropped / n;
      check(Math.abs(share - dropout) < 0.02, `${share} of the weights are dropped, expected about ${dropout}`);
    },
  };
}

const drawsASeed: ContractTest = {
  name: 'dropout without seed: drawn per call, kept for backward',
  run: async () => {
    const shape: [number, number, number, number] = [1, 2, 33, 8];
    const q = tf.tensor(normalNumbers(2 * 33 * 8, 1), shape);
    const v = tf.tensor(normalNumbers(2 * 33 * 8, 2), shape);
    const weights = tf.tensor(normalNumbers(2 * 33 * 8, 3), shape);
    const run = async () => {
      const loss = (x: tf.Tensor): tf.Tensor => tf.sum(tf.mul(flashAttention(q, q, x, {dropout: 0.5}), weights));
      const {value, grad} = tf.valueAndGrad(loss)(v);
      const product = tf.tidy(() => tf.sum(tf.mul(grad, v)));
      const read = await Promise.all([value.data(), product.data()]);
      tf.dispose([value, grad, product]);
      return {value: read[0][0], product: read[1][0]};
    };
    const [a, b] = [await run(), await run()];
    tf.dispose([q, v, weights]);
    // The output is linear in v: the gradient times v is the output again, if both used one set.
    for (const {value, product} of [a, b]) {
      check(
        Math.abs(product - value) < 1e-3,
        `gradient · v is ${product}, the output is ${value}: two different sets were dropped`,
      );
    }
    check(Math.abs(a.value - b.value) > 1e-3, 'two calls without a seed dropped the same set');
  },
};

export function determinismTests(selection: Selection): ContractTest[] {
  return [
    ...REPEATED.slice(0, {all: REPEATED.length, core: 2, sample: 2, glance: 0}[selection]).map(repeats),
    droppedSet(0.5, 0),
    ...(isPartOf(selection, 'core') ? [droppedSet(0.1, 2 ** 32 - 1), droppedSet(0.9, 305419896)] : []),
    drawsASeed,
  ];
}
