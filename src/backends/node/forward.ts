/** Forward pass: a block's output by one run of the graph, blocks of rows one after the other. */
import * as tf from '@tensorflow/tfjs-core';
import type {KernelBackend, Tensor, TensorInfo} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../../kernels/problem';
import type {AttentionResult, ForwardCall} from '../../op/kernels';
import {biasOf, hasBias} from './bias';
import {allOf, blocksOf, fold, joined, rowCut, rowsOf, unfold} from './blocks';
import type {Block} from './blocks';
import {runGraph} from './session';

/** exp's error grows with its argument's size: down to here, a weight is good to about 1e-6. */
const LEAST_WEIGHT = 1e-9;

export function forward(
  {problem, inputs, ignoresLse}: ForwardCall,
  backend: KernelBackend,
): AttentionResult<TensorInfo> {
  const {H, Hkv, Sq} = problem;
  const q = fold(problem, inputs.q, H);
  const k = fold(problem, inputs.k, Hkv);
  const v = fold(problem, inputs.v, Hkv);
  const scale = tf.scalar(problem.scale);
  const logs = rowLogs(problem);
  const biasOfBlock = hasBias(problem) ? biasOf(problem, inputs) : null;
  const parts = Array.from(blocksOf(rowCut(problem)), block =>
    tf.tidy(() => {
      const fed = {q: rowsOf(q, block), k: allOf(k, block), v: allOf(v, block), scale};
      if (biasOfBlock) return biased(backend, {...fed, bias: biasOfBlock(block)}, block, ignoresLse ? null : logs);
      if (ignoresLse) return runGraph(backend, fed, 'output').output;
      const first = runGraph(backend, fed, 'output', 'firstScore', 'firstWeight');
      if (logs.write(block, first.firstScore, first.firstWeight)) return first.output;
      const {output, max, maxWeight} = runGraph(backend, fed, 'output', 'max', 'maxWeight');
      logs.write(block, max, maxWeight);
      return output;
    }),
  );
  return {output: unfold(problem, joined(rowCut(problem), parts), H, Sq), ...logs.tensors()};
}

/** A block with a bias. What −∞ hides may not have been finite, and rows may see nothing: looked after where a total tells. */
function biased(backend: KernelBackend, fed: Record<string, Tensor>, block: Block, logs: RowLogs | null): Tensor {
  // The first key's weight would seldom do: a mask hides it, or a bias.
  const ofLse = logs ? (['maxBiased', 'maxWeightBiased'] as const) : [];
  const {outputBiased, totalBiased, maxBiased, maxWeightBiased} = runGraph(backend, fed, 'outputBiased', 'totalBiased', ...ofLse); // prettier-ignore
  if (Number.isFinite(totalBiased.dataSync()[0])) {
    logs?.write(block, maxBiased, maxWeightBiased);
    return outputBiased;
  }
  if (!logs) return runGraph(backend, fed, 'outputHiding').outputHiding;
  const {outputHiding, maxShown, maxWeightHiding} = runGraph(backend, fed, 'outputHiding', 'maxShown', 'maxWeightHiding'); // prettier-ignore
  logs.write(block, maxShown, maxWeightHiding);
  return outputHiding;
}

type RowLogs = ReturnType<typeof rowLogs>;

/** lse and lseLow of all rows, written block by block; zeros where nobody wants them. */
function rowLogs(problem: AttentionProblem) {
  const {B, H, Sq} = problem;
  const {length} = rowCut(problem);
  const [lse, lseLow] = [new Float32Array(B * H * Sq), new Float32Array(B * H * Sq)];
  return {
    /** From one score of each row and its weight; false where a weight is too small to say much. */
    write({head, first, rows}: Block, score: Tensor, weight: Tensor): boolean {
      const [scores, weights] = [score.dataSync(), weight.dataSync()];
      for (let n = 0; n < scores.length; n++) {
        const row = (head + Math.floor(n / rows)) * length + first + (n % rows);
        const minusLog = -Math.log(weights[n]);
        lse[row] = scores[n] + minusLog;
        // In this order: beside a score of −1e38 the logarithm is lost in float64, too.
        const low = scores[n] - lse[row] + minusLog;
        lseLow[row] = Number.isFinite(low) ? low : 0;
      }
      // Not `some`: a NaN must fail, too.
      return weights.every(x => x > LEAST_WEIGHT);
    },
    tensors: () => ({lse: tf.tensor(lse, [B, H, Sq]), lseLow: tf.tensor(lseLow, [B, H, Sq])}),
  };
}
