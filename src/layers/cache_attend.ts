/** How one page takes part in attention over a cache: positions, reach, and its cut of mask and bias. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';
import type {FlashAttentionOptions} from '../op/arguments';
import {untaped} from '../op/tape';

/** `flashAttention`'s options but for those that the cache itself knows, and dropout. */
export type CacheAttendOptions = Omit<
  FlashAttentionOptions,
  'layout' | 'keyLengths' | 'queryOffset' | 'dropout' | 'seed' | 'segmentIds'
> & {
  /**
   * Position of the first query, by sequence or for all. Default: as many queries as the last append had tokens are those
   * tokens; otherwise they end where the sequence ends.
   */
  queryOffset?: number | number[];
};

export const OWN_OPTIONS = ['layout', 'keyLengths', 'dropout', 'seed', 'segmentIds'];

export function offsetsOf(given: number | number[], batch: number, fail: ReturnType<typeof argumentError>): number[] {
  const offsets = typeof given === 'number' ? Array<number>(batch).fill(given) : given;
  const ok = Array.isArray(offsets) && offsets.length === batch && offsets.every(Number.isInteger);
  if (!ok) throw fail('queryOffset', `be an integer or ${batch} of them`, shown(given));
  return offsets;
}

/** Query positions counted from the start of a page. */
export function shifted(offsets: number[], from: number): number | number[] {
  const moved = offsets.map(offset => offset - from);
  return moved.every(offset => offset === moved[0]) ? moved[0] : moved;
}

/** The keys that causality and the window leave to some query: pages outside are not read. */
export function reachOf({causal, window = [-1, -1]}: CacheAttendOptions, offsets: number[], queries: number) {
  const [left, right] = window;
  const last = Math.max(...offsets) + queries - 1;
  return {
    from: left < 0 ? 0 : Math.min(...offsets) - left,
    to: causal ? last : right < 0 ? Infinity : last + right,
  };
}

export function cutKeys(
  name: string,
  given: tf.Tensor | tf.TensorLike,
  dtype: 'bool' | 'float32',
  from: number,
  to: number,
  longest: number,
): Tensor {
  const x = given instanceof tf.Tensor ? given : tf.tensor(given, undefined, dtype);
  const keys = x.shape[x.rank - 1];
  if (keys === 1) return x;
  if (keys !== longest) {
    throw argumentError('KVCache.attend')(
      name,
      `have the number of cached keys (${longest}) or 1 as its last dimension`,
      x.shape,
    );
  }
  const begin = x.shape.map((_, axis) => (axis === x.rank - 1 ? from : 0));
  return untaped(() => tf.slice(x, begin, [...x.shape.slice(0, -1), to - from]));
}
