/** Forward attention from plain tfjs ops, block of rows by block of rows: safe softmax over the block's visible keys. */
import * as tf from '@tensorflow/tfjs-core';
import type {Rank, Tensor, Tensor4D} from '@tensorflow/tfjs-core';
import {shapesOf} from '../../../kernels/problem';
import type {AttentionInputs, AttentionProblem} from '../../../kernels/problem';
import type {AttentionResult} from '../../op/kernels';
import {FLOAT32_LOWEST, minusInfinities, minusInfinityWhere} from '../../op/infinity';
import {untaped} from '../../op/tape';
import {product} from './product';
import {
  blockScores, dropoutFactors, headsFirst, HIDDEN, keysOf, operandsOf, rowBlocks, select,
} from './row_block'; // prettier-ignore
import type {Operands, RowBlock} from './row_block';

/** Output, lse and lseLow; call it inside a tidy. */
export function composedForward(problem: AttentionProblem, inputs: AttentionInputs<Tensor>): AttentionResult<Tensor> {
  const {B, H, Sq, Sk, Dv} = problem;
  if (B * Sq * Sk === 0) return withoutKeys(problem, inputs);
  const operands = operandsOf(problem, inputs);
  const parts = rowBlocks(problem).map(block => tidyResult(() => forwardBlock(problem, inputs, operands, block)));
  const join = (of: (part: AttentionResult<Tensor>) => Tensor): Tensor =>
    parts.length === 1 ? of(parts[0]) : tf.concat(parts.map(of), 2);
  return {
    output: headsFirst(problem, join(part => part.output)), // BSHD: the same swap back
    lse: tf.reshape(join(part => part.lse), [B, H, Sq]),
    lseLow: tf.reshape(join(part => part.lseLow), [B, H, Sq]),
  }; // prettier-ignore

  function forwardBlock(
    p: AttentionProblem,
    x: AttentionInputs<Tensor>,
    all: Operands,
    block: RowBlock,
  ): AttentionResult<Tensor> {
    const {rows, from, to} = block;
    const sinks = p.hasSinks ? tf.reshape(x.sinks!, [1, H, 1, 1]) : null;
    if (from === to) return blockWithoutKeys(p, sinks, rows);
    const {scores, visible} = blockScores(p, x, all, block);
    // The result does not depend on the maximum, so no gradient goes through it.
    const rowMax = untaped(() => {
      const max = tf.max(select(visible, scores, FLOAT32_LOWEST), -1, true);
      return sinks ? tf.maximum(max, sinks) : max;
    });
    const weights = tf.exp<Tensor4D>(select(visible, tf.sub(scores, rowMax), HIDDEN));
    let rowSum = tf.sum(weights, -1, true);
    if (sinks) rowSum = tf.add(rowSum, tf.exp(tf.sub(sinks, rowMax)));

    const kept = p.dropout > 0 ? tf.mul(weights, dropoutFactors(p, block)) : weights;
    const folded = tf.reshape<Rank.R3>(kept, [B * p.Hkv, (H / p.Hkv) * rows, to - from]);
    const weighted = tf.reshape(product(folded, keysOf(all.v, block)), [B, H, rows, Dv]);
    const seesNone = untaped(() => tf.equal(rowSum, 0));
    const divisor = tf.where(seesNone, 1, rowSum);
    const logSum = tf.log(divisor);
    const lse = tf.add(rowMax, logSum);
    return {
      output: tf.div(weighted, divisor),
      lse: minusInfinityWhere(seesNone, lse),
      lseLow: tf.where(seesNone, 0, tf.add(tf.sub(rowMax, lse), logSum)),
    };
  }
}

/** A tidy that keeps the three results of a block. */
function tidyResult(f: () => AttentionResult<Tensor>): AttentionResult<Tensor> {
  return tf.tidy(() => f() as unknown as tf.TensorContainerObject) as unknown as AttentionResult<Tensor>;
}

function blockWithoutKeys({B, H, Dv}: AttentionProblem, sinks: Tensor | null, rows: number): AttentionResult<Tensor> {
  return {
    output: tf.zeros([B, H, rows, Dv]),
    lse: sinks ? tf.tile(sinks, [B, 1, rows, 1]) : minusInfinities([B, H, rows, 1]),
    lseLow: tf.zeros([B, H, rows, 1]),
  };
}

function withoutKeys(problem: AttentionProblem, inputs: AttentionInputs<Tensor>): AttentionResult<Tensor> {
  const {B, H, Sq, hasSinks} = problem;
  const empty = B * Sq === 0;
  return {
    output: tf.zeros(shapesOf(problem).output),
    lse: hasSinks && !empty ? tf.tile(tf.reshape(inputs.sinks!, [1, H, 1]), [B, 1, Sq]) : minusInfinities([B, H, Sq]),
    lseLow: tf.zeros([B, H, Sq]),
  };
}
