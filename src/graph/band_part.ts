/**
 * MatrixBandPart as TensorFlow means it. tfjs-converter 4.22 reads num_upper from the input that holds num_lower
 * (operations/op_list/matrices.js), so a causal mask (−1, 0) comes out all true.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {NodeDef} from './graph_def';

/** Served by `register_op.ts`. */
export const BAND_PART_OP = 'FlashMatrixBandPart';

/** The nodes with MatrixBandPart served by an op that reads all three inputs; the same list where there is none. */
export function withBandPartsRead(nodes: NodeDef[]): NodeDef[] {
  if (!nodes.some(({op}) => op === 'MatrixBandPart')) return nodes;
  return nodes.map(node => (node.op === 'MatrixBandPart' ? {...node, op: BAND_PART_OP} : node));
}

export function bandPart(x: tf.Tensor, lower: tf.Tensor, upper: tf.Tensor): tf.Tensor {
  const [below, above] = [lower.dataSync()[0], upper.dataSync()[0]];
  const [rows, columns] = x.shape.slice(-2);
  const i = tf.reshape(tf.range(0, rows, 1, 'int32'), [rows, 1]);
  const j = tf.range(0, columns, 1, 'int32');
  const distance = tf.sub(i, j);
  const within = tf.logicalAnd(
    tf.lessEqual(distance, tf.scalar(below < 0 ? rows : below, 'int32')),
    tf.greaterEqual(distance, tf.scalar(above < 0 ? -columns : -above, 'int32')),
  );
  // Backend wasm's where writes past the end of booleans.
  return x.dtype === 'bool' ? tf.logicalAnd(within, x) : tf.where(within, x, tf.zerosLike(x));
}
