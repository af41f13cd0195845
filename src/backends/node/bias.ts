/**
 * Whatever is added to the scores or hides keys (bias, mask, keyLengths) as one tensor for the graph to add to a block of scores,
 * −∞ where hidden; as small as it is given: [heads or 1, rows or 1, keys or 1].
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor3D, TensorInfo} from '@tensorflow/tfjs-core';
import type {AttentionInputs, AttentionProblem} from '../../../kernels/problem';
import {biasIsPerRow} from './blocks';
import type {Block} from './blocks';

export const hasBias = ({bias, mask, hasKeyLengths}: AttentionProblem): boolean =>
  bias !== null || mask !== null || hasKeyLengths;

/** Whether heads that share a key head, and so are folded into rows, differ in it, or rows do: such a bias would have to be repeated. */
export const biasIsPerFoldedRow = ({H, Hkv, bias, mask}: AttentionProblem): boolean =>
  H > Hkv && [bias, mask].some(shape => shape !== null && shape[1] * shape[2] > 1);

/** Numbers in a block's part; of one that is the same for all rows, in the whole. */
export function biasSize(problem: AttentionProblem, heads: number, rows: number): number {
  if (!hasBias(problem)) return 0;
  const {B, Hkv, Sk, bias, mask, hasKeyLengths} = problem;
  const shapes = [bias, mask].filter(shape => shape !== null);
  const isPer = (axis: number): boolean => shapes.some(shape => shape[axis] > 1);
  const keys = isPer(3) || hasKeyLengths ? Sk : 1;
  if (biasIsPerRow(problem)) return (isPer(1) ? heads : 1) * rows * keys;
  return (isPer(0) || isPer(1) || (hasKeyLengths && B > 1) ? B * Hkv : 1) * keys;
}

/** Gives each block its part. */
export function biasOf(problem: AttentionProblem, inputs: AttentionInputs<TensorInfo>): (block: Block) => Tensor3D {
  const parts = partsOf(problem, inputs);
  if (biasIsPerRow(problem)) return block => tf.tidy(() => sum(parts.map(part => cut(problem, part, block))));
  const {B, Hkv} = problem;
  const whole = tf.tidy(() => sum(parts));
  const [b, h, , keys] = whole.shape;
  if (b * h === 1) return () => tf.reshape(whole, [1, 1, keys]);
  const ofHeads: Tensor3D = tf.reshape(tf.broadcastTo(whole, [B, Hkv, 1, keys]), [B * Hkv, 1, keys]);
  return ({head, heads}) => tf.slice(ofHeads, [head, 0, 0], [heads, 1, keys]);
}

/** float32 or bool, of rank 4. */
function partsOf({B, Sk, hasKeyLengths}: AttentionProblem, {bias, mask, keyLengths}: AttentionInputs<TensorInfo>) {
  const isFilled =
    hasKeyLengths && tf.less(tf.range(0, Sk, 1, 'int32'), tf.reshape(keyLengths as Tensor, [B, 1, 1, 1]));
  return [bias, mask, isFilled].filter(part => part) as Tensor[];
}

/** A block of rows of some heads of one batch. */
function cut({Hkv}: AttentionProblem, part: Tensor, {head, heads, first, rows}: Block): Tensor3D {
  const [b, h, i, keys] = part.shape;
  const from = [b > 1 ? Math.floor(head / Hkv) : 0, h > 1 ? head % Hkv : 0, i > 1 ? first : 0, 0];
  const size: [number, number, number] = [h > 1 ? heads : 1, i > 1 ? rows : 1, keys];
  return tf.reshape(tf.slice(part, from, [1, ...size]), size);
}

function sum<T extends Tensor>(parts: T[]): T {
  return parts.map(addable).reduce((total, part) => tf.add(total, part));
}

/** Of what tells who may attend: 0 for true, −∞ for false. */
function addable<T extends Tensor>(part: T): T {
  return part.dtype === 'bool' ? tf.log(tf.cast(part, 'float32')) : part;
}
