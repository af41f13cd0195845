/** Joins attention over two disjoint sets of keys into attention over their union. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';
import type {Layout} from '../../kernels/options';
import {asTensor} from './arguments';
import type {AttentionWithLse} from './flash_attention';
import {isMinusInfinity, minusInfinityWhere} from './infinity';
import {untaped} from './tape';

/** The exponent of a weight that must be 0 on every backend, where exp(−∞) may be NaN. */
const NO_WEIGHT = -1e30;

/**
 * The same queries attended over two disjoint sets of keys gives what one call over their union gives, so a context can be
 * spread over workers or machines. Differentiable. Give sinks to one part only, and an explicit queryOffset to each where
 * causal, window or ALiBi are used; not defined with dropout.
 *
 * Source: the split-keys reduction of Flash-Decoding (Dao et al. 2023); FlashAttention-2 (Dao 2023, §3.1).
 *
 * @param a what `flashAttentionWithLse` returned for one part.
 * @param b the same for the other part.
 * @param options.layout of rank-4 outputs: 'BHSD' (default) or 'BSHD'.
 * @returns {output, lse} of the union.
 * @throws Error `Argument '…' passed to 'mergeAttention' must …, but got …`.
 */
export const mergeAttention = tf.op({
  mergeAttention_: (a: AttentionWithLse, b: AttentionWithLse, options: {layout?: Layout} = {}): AttentionWithLse => {
    const layout = layoutOf(options);
    const first = part('a', a, layout);
    const second = part('b', b, layout);
    const fail = argumentError('mergeAttention');
    if (!tf.util.arraysEqual(first.output.shape, second.output.shape)) {
      throw fail('b.output', `have the shape of a.output ([${first.output.shape}])`, second.output.shape);
    }

    const max = untaped(() => {
      const larger = tf.maximum(first.lse, second.lse);
      return tf.where(isMinusInfinity(larger), 0, larger);
    });
    const weight = (lse: Tensor): Tensor => tf.exp(tf.where(isMinusInfinity(lse), NO_WEIGHT, tf.sub(lse, max)));
    const weightA = weight(first.lse);
    const weightB = weight(second.lse);
    const sum = tf.add(weightA, weightB);
    const seesNone = untaped(() => tf.equal(sum, 0));
    const divisor = tf.where(seesNone, 1, sum);
    const share = (w: Tensor): Tensor => besideWidth(tf.div(w, divisor), layout, first.output.rank);
    return {
      output: tf.add(tf.mul(first.output, share(weightA)), tf.mul(second.output, share(weightB))),
      lse: minusInfinityWhere(seesNone, tf.add(max, tf.log(divisor))),
    };
  },
});

function layoutOf(options: unknown): Layout {
  const fail = argumentError('mergeAttention');
  if (typeof options !== 'object' || options === null) throw fail('options', 'be an object of options', shown(options));
  for (const name of Object.keys(options)) {
    if (name !== 'layout') throw fail('options', 'hold only options that exist', `'${name}' (the nearest is 'layout')`);
  }
  const {layout = 'BHSD'} = options as {layout?: unknown};
  if (layout !== 'BHSD' && layout !== 'BSHD') throw fail('layout', `be 'BHSD' or 'BSHD'`, shown(layout));
  return layout;
}

function part(name: string, given: AttentionWithLse, layout: Layout): AttentionWithLse {
  const fail = argumentError('mergeAttention');
  if (typeof given !== 'object' || given === null) throw fail(name, 'be {output, lse}', shown(given));
  const output = asTensor('mergeAttention', `${name}.output`, given.output, 'float32');
  const lse = asTensor('mergeAttention', `${name}.lse`, given.lse, 'float32');
  if (output.rank < 2 || output.rank > 4) throw fail(`${name}.output`, 'be a tensor of rank 2, 3 or 4', output.shape);
  const [B, second, third] = output.shape;
  const rows =
    output.rank < 4 ? output.shape.slice(0, -1) : layout === 'BHSD' ? [B, second, third] : [B, third, second];
  if (!tf.util.arraysEqual(lse.shape, rows)) throw fail(`${name}.lse`, `have shape [${rows}]`, lse.shape);
  return {output, lse};
}

/** A number per query, shaped so that it multiplies the rows of an output. */
function besideWidth(x: Tensor, layout: Layout, rank: number): Tensor {
  return tf.expandDims(rank === 4 && layout === 'BSHD' ? tf.transpose(x, [0, 2, 1]) : x, -1);
}
