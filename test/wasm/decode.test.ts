/** Few queries on backend `cpu`: K and V go through the kernels' memory one split at a time, in either layout. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention} from '../../src';
import {attentionCase} from '../attention_case';
import {checkCase} from '../contract/run_case';
import {describeOn} from '../harness/node';

describeOn('cpu', 'decode', () => {
  it.each([
    attentionCase('several splits', {B: 2, H: 3, Sq: 1, Sk: 700, D: 24, Dv: 20}),
    attentionCase('grouped heads', {B: 2, H: 4, Hkv: 2, Sq: 3, Sk: 513, D: 16}),
    attentionCase('heads side by side', {B: 2, H: 4, Hkv: 2, Sq: 2, Sk: 600, D: 16, Dv: 8, layout: 'BSHD'}),
    attentionCase('one head, side by side', {B: 2, H: 2, Hkv: 1, Sq: 1, Sk: 300, D: 16, layout: 'BSHD'}),
    attentionCase('lengths', {B: 3, H: 2, Sq: 1, Sk: 600, D: 16, layout: 'BSHD', options: {keyLengths: [600, 300, 0]}}),
    attentionCase('a window', {H: 2, Sq: 1, Sk: 900, D: 16, options: {window: [300, 0]}}),
  ])('$name', c => checkCase(c));

  it('keys beyond keyLengths are not even copied: their NaN stays out', () => {
    const [B, H, Sk, D] = [1, 2, 520, 8];
    const values = (seed: number, hidden: number) => {
      const x = tf.randomNormal([B, H, Sk, D], 0, 1, 'float32', seed).dataSync() as Float32Array;
      return tf.tensor(
        x.map((value, n) => (Math.floor(n / D) % Sk < 260 ? value : hidden)),
        [B, H, Sk, D],
      );
    };
    const q = tf.randomNormal([B, H, 1, D], 0, 1, 'float32', 1);
    const run = (hidden: number) => flashAttention(q, values(2, hidden), values(3, hidden), {keyLengths: [260]});
    expect(run(NaN).dataSync()).toEqual(run(0).dataSync());
  });
});
