/**
 * Forward pass: scores, softmax and sums of values of a block as TensorFlow ops. Where each row's sum of exp(score) stays far
 * from float32's limits, no maximum is taken off the scores: the exponential is then the one pass over them between the two
 * products, where a softmax makes four.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor3D, TensorInfo} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../../kernels/problem';
import type {AttentionResult, ForwardCall} from '../../op/kernels';
import {allOf, areFinite, blocksOf, fold, joined, rowCut, rowsOf, unfold} from './blocks';
import type {Block} from './blocks';

/** Scores up to which calling an op costs more than what the ops below save on passes. */
const FEW_SCORES = 2 ** 19;
/** Sums are used as they are up to this and down from its inverse: what underflows then is below 1e-18 of its row's sum. */
const GREATEST_SUM = 2 ** 64;

export function forward(call: ForwardCall): AttentionResult<TensorInfo> {
  const {problem, inputs, ignoresLse} = call;
  const {B, H, Hkv, Sq, Sk, layout, scale} = problem;
  const isPlain = ignoresLse && layout === 'BHSD' && H === Hkv;
  if (isPlain && B * H * Sq * Sk <= FEW_SCORES) return withFewOps(call);
  const q = tf.mul<Tensor3D>(fold(problem, inputs.q, H), scale);
  const k = fold(problem, inputs.k, Hkv);
  const v = fold(problem, inputs.v, Hkv);
  const logs = rowLogs(problem);
  let isInRange = true; // after one block that is not, the rest is not tried
  const parts = Array.from(blocksOf(rowCut(problem)), block =>
    tf.tidy(() => {
      const scores = tf.matMul<Tensor3D>(rowsOf(q, block), allOf(k, block), false, true);
      const values = allOf(v, block);
      const summed = isInRange ? summedBlock(scores, values) : null;
      isInRange = summed !== null;
      const {output, log} = summed ?? shiftedBlock(scores, values);
      if (!ignoresLse) logs.write(block, log);
      return output;
    }),
  );
  return {output: unfold(problem, joined(rowCut(problem), parts), H, Sq), ...logs.tensors()};
}

/** No reshapes, no checks. */
function withFewOps({problem, inputs}: ForwardCall): AttentionResult<TensorInfo> {
  const [q, k, v] = [inputs.q, inputs.k, inputs.v] as Tensor[];
  const weights = tf.softmax(tf.matMul(tf.mul(q, problem.scale), k, false, true));
  return {output: tf.matMul(weights, v), ...rowLogs(problem).tensors()};
}

/** A block's output, and the logs of its rows' sums of exp(score) in float64. */
interface BlockResult {
  output: Tensor;
  log: () => Float64Array;
}

/** Null where a sum is out of range or the output not finite, as it is where large values meet large weights. */
function summedBlock(scores: Tensor3D, v: Tensor3D): BlockResult | null {
  const weights = tf.exp(scores);
  const rowSum = tf.sum(weights, -1, true);
  const sums = rowSum.dataSync();
  // Not `some`: a NaN must fail, too.
  if (!sums.every(sum => sum > 1 / GREATEST_SUM && sum < GREATEST_SUM)) return null;
  const output = tf.div(tf.matMul(weights, v), rowSum);
  return areFinite([output]) ? {output, log: () => Float64Array.from(sums, Math.log)} : null;
}

function shiftedBlock(scores: Tensor3D, v: Tensor3D): BlockResult {
  const rowMax = tf.max(scores, -1, true);
  const weights = tf.exp(tf.sub(scores, rowMax));
  const rowSum = tf.sum(weights, -1, true);
  // Divided before the product: sums of values near float32's end stay finite.
  const output = tf.matMul(tf.div(weights, rowSum), v);
  const [maxima, sums] = [rowMax, rowSum].map(x => x.dataSync());
  return {output, log: () => Float64Array.from(sums, (sum, row) => maxima[row] + Math.log(sum))};
}

/** lse and lseLow of all rows, written block by block; zeros where nobody wants them. */
function rowLogs(problem: AttentionProblem) {
  const {B, H, Sq} = problem;
  const {length} = rowCut(problem);
  const [lse, lseLow] = [new Float32Array(B * H * Sq), new Float32Array(B * H * Sq)];
  return {
    write({head, first, rows}: Block, log: () => Float64Array): void {
      log().forEach((value, n) => {
        const row = (head + Math.floor(n / rows)) * length + first + (n % rows);
        lse[row] = value;
        const low = value - lse[row];
        lseLow[row] = Number.isFinite(low) ? low : 0;
      });
    },
    tensors: () => ({lse: tf.tensor(lse, [B, H, Sq]), lseLow: tf.tensor(lseLow, [B, H, Sq])}),
  };
}
