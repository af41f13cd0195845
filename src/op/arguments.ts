/** Turns what the caller gave into rank-4 tensors and an `AttentionProblem`; every complaint comes from here or below. */
import * as tf from '@tensorflow/tfjs-core';
import type {DataType, Tensor, TensorLike} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';
import type {Layout, NumberOptions, Precision} from '../../kernels/options';
import {attentionProblem, broadcastShape, shapesOf} from '../../kernels/problem';
import type {AttentionInputs, AttentionProblem} from '../../kernels/problem';
import {nearestWord} from './nearest_word';

/**
 * Options of `flashAttention`, all optional. A score goes through scale → softcap → bias and ALiBi → visibility → softmax with the
 * sink → dropout. Tensors may be given as arrays; their values are never read on the host.
 */
export interface FlashAttentionOptions {
  /** Order of the axes of rank-4 q, k, v and output: 'BHSD' (default) or 'BSHD'. */
  layout?: Layout;
  /** Factor on q·k; default 1/√D. */
  scale?: number;
  /** Key j is visible to query i iff j ≤ i + queryOffset; default false. */
  causal?: boolean;
  /** Key position of query 0: a number, or int32 [B]; default Sk − Sq. Used by causal, window and ALiBi. */
  queryOffset?: number | Tensor | TensorLike;
  /** `[left, right]`: visible iff i + offset − left ≤ j ≤ i + offset + right; −1 is unbounded. Default [−1, −1]. */
  window?: readonly [number, number];
  /** c > 0: scores become c·tanh(score / c), after scale, before bias; default: none. */
  softcap?: number;
  /** float32, added to the scores, broadcasts to their shape [B, H, Sq, Sk]; −∞ hides the key. Differentiable. */
  bias?: Tensor | TensorLike;
  /** float32 [H] or [B, H]: score −= slope · |i + offset − j|; not differentiated. */
  alibiSlopes?: Tensor | TensorLike;
  /** bool, broadcasts to the scores' shape [B, H, Sq, Sk]; true may attend. */
  mask?: Tensor | TensorLike;
  /** int32 [B], clamped to 0…Sk: keys at j ≥ keyLengths[b] are invisible and may hold anything, NaN included. */
  keyLengths?: Tensor | TensorLike;
  /** int32 [B, Sq] and [B, Sk]: visible iff equal. For packed sequences. */
  segmentIds?: {query: Tensor | TensorLike; key: Tensor | TensorLike};
  /** float32 [H]: one extra logit per head, in the denominator and in lse only; neither scaled nor capped. Differentiable. */
  sinks?: Tensor | TensorLike;
  /** Chance in [0, 1) that a probability is dropped; the rest is scaled by 1 / (1 − dropout), lse ignores it. Default 0. */
  dropout?: number;
  /** Integer in [0, 2³²) that fixes the dropped set, the same on every backend; default: drawn per call. */
  seed?: number;
  /** What arithmetic is permitted where the device has it; default 'float32'. */
  precision?: Precision;
}

const OPTION_NAMES = [
  'layout', 'scale', 'causal', 'queryOffset', 'window', 'softcap', 'bias', 'alibiSlopes', 'mask', 'keyLengths',
  'segmentIds', 'sinks', 'dropout', 'seed', 'precision',
] as const satisfies ReadonlyArray<keyof FlashAttentionOptions>; // prettier-ignore

/** One call, ready for a kernel. */
export interface AttentionCall {
  problem: AttentionProblem;
  /** All of rank 4, or of the small ranks that `AttentionInputs` names. */
  inputs: AttentionInputs<Tensor>;
  /** Rank of the caller's q. */
  rank: number;
}

/**
 * @param opName the op that the error messages name.
 * @throws Error `Argument '…' passed to '…' must …, but got …` before any tensor is computed.
 */
export function attentionCall(
  opName: string,
  q: Tensor | TensorLike,
  k: Tensor | TensorLike,
  v: Tensor | TensorLike,
  options: FlashAttentionOptions = {},
): AttentionCall {
  checkNames(opName, options);
  const {bias, mask, alibiSlopes, keyLengths, queryOffset, segmentIds, sinks, ...rest} = options;
  const convert = (name: string, value: Tensor | TensorLike | undefined, dtype: DataType): Tensor | undefined =>
    value === undefined ? undefined : asTensor(opName, name, value, dtype);
  if (segmentIds !== undefined) checkSegmentIds(opName, segmentIds);
  const offsetIsNumber = queryOffset === undefined || typeof queryOffset === 'number';

  const given: AttentionInputs<Tensor> = {
    q: asTensor(opName, 'q', q, 'float32'),
    k: asTensor(opName, 'k', k, 'float32'),
    v: asTensor(opName, 'v', v, 'float32'),
    bias: convert('bias', bias, 'float32'),
    mask: convert('mask', mask, 'bool'),
    alibiSlopes: convert('alibiSlopes', alibiSlopes, 'float32'),
    keyLengths: convert('keyLengths', keyLengths, 'int32'),
    queryOffset: offsetIsNumber ? undefined : convert('queryOffset', queryOffset, 'int32'),
    querySegments: convert('segmentIds.query', segmentIds?.query, 'int32'),
    keySegments: convert('segmentIds.key', segmentIds?.key, 'int32'),
    sinks: convert('sinks', sinks, 'float32'),
  };
  const numbers: NumberOptions = {...rest, queryOffset: offsetIsNumber ? queryOffset : undefined};
  const problem = attentionProblem(opName, given, numbers);
  if (problem.dropout > 0 && options.seed === undefined) problem.seed = Math.floor(Math.random() * 2 ** 32);

  const rank = given.q.rank;
  if (rank === 4) return {problem, inputs: {...given, ...scoresInputs(given, rank)}, rank};
  const shapes = shapesOf(problem);
  const inputs = {
    ...given,
    ...scoresInputs(given, rank),
    q: tf.reshape(given.q, shapes.q),
    k: tf.reshape(given.k, shapes.k),
    v: tf.reshape(given.v, shapes.v),
  };
  return {problem, inputs, rank};
}

/** Bias and mask with all four axes of the scores. */
function scoresInputs({bias, mask}: AttentionInputs<Tensor>, rank: number): {bias?: Tensor; mask?: Tensor} {
  const full = (x: Tensor | undefined): Tensor | undefined =>
    x === undefined || x.rank === 4
      ? x
      : tf.reshape(x, broadcastShape(x.shape, rank) as [number, number, number, number]);
  return {bias: full(bias), mask: full(mask)};
}

/** A tensor as it is, or one made from an array, with the dtype that the argument must have. */
export function asTensor(opName: string, name: string, value: Tensor | TensorLike, dtype: DataType): Tensor {
  const fail = argumentError(opName);
  const tensorOf = (type: DataType): string => `${type === 'int32' ? 'an' : 'a'} ${type} tensor`;
  const wanted = tensorOf(dtype);
  if (value instanceof tf.Tensor) {
    if (value.isDisposed) throw fail(name, 'be a live tensor', 'a disposed one');
    if (value.dtype !== dtype) throw fail(name, `be ${wanted}`, tensorOf(value.dtype));
    return storedAsTyped(value);
  }
  const isArray = Array.isArray(value) || ArrayBuffer.isView(value);
  if (!isArray && typeof value !== 'number' && typeof value !== 'boolean') {
    throw fail(name, `be ${wanted} or an array`, shown(value));
  }
  const flaw = flawOf(value);
  if (flaw !== null) throw fail(name, `be ${wanted} or a regular array of numbers`, flaw);
  return tf.tensor(value, undefined, dtype);
}

/** tf.cast to a wider type may only relabel, so that a float32 tensor is stored as integers: then a copy that is what it says. */
function storedAsTyped(x: Tensor): Tensor {
  const stored = tf.engine().state.tensorInfo.get(x.dataId)?.dtype;
  if (stored === undefined || stored === x.dtype) return x;
  return x.dtype === 'int32' ? tf.add(x, tf.scalar(0, 'int32')) : tf.mul(x, tf.scalar(1));
}

/** What keeps an array from being a tensor, null where nothing does; tfjs itself looks in its debug mode only. */
function flawOf(value: unknown): string | null {
  if (tf.util.isTypedArray(value as object)) return null;
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name}`;
  if (!Array.isArray(value)) return typeof value === 'number' || typeof value === 'boolean' ? null : shown(value);
  const lengthOf = (x: unknown): number =>
    Array.isArray(x) || tf.util.isTypedArray(x as object) ? (x as []).length : -1;
  const uneven: unknown = value.find(x => lengthOf(x) !== lengthOf(value[0]));
  if (uneven !== undefined) return `one whose parts differ in length (${shown(value[0])} and ${shown(uneven)})`;
  for (const x of value) {
    const flaw = flawOf(x);
    if (flaw !== null) return flaw;
  }
  return null;
}

/** @throws Error unless `options` is a plain object. */
export function checkIsOptions(opName: string, options: unknown): asserts options is object {
  const fail = argumentError(opName);
  if (typeof options !== 'object' || options === null || Array.isArray(options) || options instanceof tf.Tensor) {
    throw fail('options', 'be an object of options', options instanceof tf.Tensor ? 'a tensor' : shown(options));
  }
}

function checkNames(opName: string, options: unknown): void {
  const fail = argumentError(opName);
  checkIsOptions(opName, options);
  const known: readonly string[] = OPTION_NAMES;
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      const nearest = nearestWord(name, known);
      throw fail('options', `hold only options that exist`, `'${name}' (the nearest is '${nearest}')`);
    }
  }
}

function checkSegmentIds(opName: string, segmentIds: unknown): void {
  const fail = argumentError(opName);
  const must = 'be {query, key}, int32 tensors of shapes [B, Sq] and [B, Sk]';
  if (typeof segmentIds !== 'object' || segmentIds === null) throw fail('segmentIds', must, shown(segmentIds));
  const {query, key} = segmentIds as {query?: unknown; key?: unknown};
  if (query === undefined || key === undefined) {
    throw fail('segmentIds', must, `one without '${query === undefined ? 'query' : 'key'}'`);
  }
}
