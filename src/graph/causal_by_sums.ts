/**
 * Attention whose masks are large negative numbers, as in most converted models, rather than −∞. Where a row sees a key the two are the
 * same. A row that padding and the causal mask hide whole is a softmax over both there, and computed as the model would: row by row for
 * the first queries up to the first key that counts, which is where such rows are.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {FlashAttentionOptions} from '../op/arguments';
import {flashAttention} from '../op/flash_attention';
import {FLOAT32_LOWEST} from '../op/infinity';
import type {Attend} from './attention_call';
import type {Ahead} from './patterns/ahead';

/** A mask as a bias: a row that it hides whole is uniform. */
export const attendLowered: Attend = (q, k, v, {mask, bias, ...options}) => {
  if (mask === undefined) return flashAttention(q, k, v, {...options, bias});
  const low = tf.where(tf.cast(mask as tf.Tensor, 'bool'), tf.scalar(0), tf.scalar(FLOAT32_LOWEST));
  return flashAttention(q, k, v, {...options, bias: bias === undefined ? low : tf.add(bias, low)});
};

/** Causal attention of `ahead`'s kind; bias or mask are the same for all queries. */
export function causalBySums(ahead: Ahead): Attend {
  return (q, k, v, options) => {
    const axis = rowAxis(q, options);
    const [queries, keys] = [q.shape[axis], k.shape[rowAxis(k, options)]];
    const offset = (options.queryOffset as number | undefined) ?? keys - queries;
    const rows = Math.min(queries, Math.max(0, rowsWithoutKey(ahead, options, offset)));
    if (rows === 0) return attendLowered(q, k, v, options);
    const part = (from: number, count: number): tf.Tensor => {
      const begin = q.shape.map((_, n) => (n === axis ? from : 0));
      return tf.slice(q, begin, q.shape.map((size, n) => (n === axis ? count : size))); // prettier-ignore
    };
    const first = chain(ahead, part(0, rows), k, v, offset, options);
    if (rows === queries) return first;
    const rest = attendLowered(part(rows, queries - rows), k, v, {...options, queryOffset: offset + rows});
    return tf.concat([first, rest], axis);
  };
}

function rowAxis({rank}: tf.Tensor, {layout}: FlashAttentionOptions): number {
  return layout === 'BSHD' ? 1 : rank - 2;
}

/** Up to where rows may see no key: keys that count come later than the last that the row may look at. */
function rowsWithoutKey({value}: Ahead, {bias, mask}: FlashAttentionOptions, offset: number): number {
  const tensor = (bias ?? mask) as tf.Tensor;
  const values = valuesOf(tensor);
  if (!values) return Infinity;
  const counts = (x: number): boolean => (bias === undefined ? x !== 0 : !(x <= value / 2));
  const keys = tensor.shape[tensor.rank - 1];
  let most = 0;
  for (let start = 0; start < values.length; start += keys) {
    let j = 0;
    while (j < keys && !counts(values[start + j])) j++;
    most = Math.max(most, j === keys ? Infinity : j - offset);
  }
  return most;
}

/** The layers of a model share their mask: on a GPU it is waited for once. */
const read = new WeakMap<object, ArrayLike<number>>();
let hasWarned = false;

/** Undefined where this device cannot be waited for (WebGPU outside a page). */
function valuesOf(tensor: tf.Tensor): ArrayLike<number> | undefined {
  const before = read.get(tensor.dataId);
  if (before) return before;
  try {
    const values = tensor.dataSync();
    read.set(tensor.dataId, values);
    return values;
  } catch {
    if (!hasWarned)
      console.warn(
        'FlashAttention: the mask cannot be read here, so causal attention with padding is computed unfused.',
      );
    hasWarned = true;
    return undefined;
  }
}

/** softmax(scores) v, all scores at once, in the order of sums that models have. */
function chain(
  ahead: Ahead,
  q0: tf.Tensor,
  k0: tf.Tensor,
  v0: tf.Tensor,
  offset: number,
  options: FlashAttentionOptions,
): tf.Tensor {
  const {scale = 1, softcap, bias, mask, layout} = options;
  const heads = q0.rank === 4 ? q0.shape[layout === 'BSHD' ? 2 : 1]! : 1;
  const headsFirst = (x: tf.Tensor): tf.Tensor => (layout === 'BSHD' ? tf.transpose(x, [0, 2, 1, 3]) : x);
  const [q, k, v] = [q0, k0, v0].map(headsFirst).map(x => (x.rank === 4 ? withHeads(x, heads) : x));
  const [rows, keys] = [q.shape[q.rank - 2], k.shape[k.rank - 2]];
  const product = tf.mul(tf.matMul(q, k, false, true), scale);
  const scores: tf.Tensor = softcap === undefined ? product : tf.mul(tf.tanh(tf.div(product, softcap)), softcap);
  const shape = scores.shape as number[];
  const base = ahead.scores ? tf.add(scores, ahead.value) : tf.fill(shape, ahead.value);
  const i = tf.reshape(tf.range(0, rows, 1, 'int32'), [rows, 1]);
  const isAhead = tf.greater(tf.range(0, keys, 1, 'int32'), tf.add(i, tf.scalar(offset, 'int32')));
  const withBias = (x: tf.Tensor): tf.Tensor => (bias === undefined ? x : tf.add(x, bias));
  const seen = withBias(scores);
  const kept = mask === undefined ? seen : tf.where(tf.cast(mask as tf.Tensor, 'bool'), seen, tf.fill(shape, ahead.value)); // prettier-ignore
  const logits = tf.where(isAhead, ahead.bias ? withBias(base) : base, kept);
  return headsFirst(tf.matMul(tf.softmax(logits), v));
}

/** Each key head as often as query heads share it. */
function withHeads(x: tf.Tensor, heads: number): tf.Tensor {
  const shared = heads / x.shape[1]!;
  if (shared === 1) return x;
  return tf.gather(x, Array.from({length: heads}, (_, h) => Math.floor(h / shared)), 1); // prettier-ignore
}
