/** The implementation from plain tfjs ops: runs on every backend and takes every call, so it closes every list. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, TensorInfo} from '@tensorflow/tfjs-core';
import type {AttentionInputs, AttentionProblem} from '../../../kernels/problem';
import type {AttentionResult, GradInputs} from '../../op/kernels';
import type {Implementation} from '../implementation';
import {composedBackward} from './backward';
import {composedForward} from './forward';
import {BLOCK_ROWS} from './row_block';

export {composedBackward} from './backward';
export {composedForward} from './forward';

/** Scores, weights and a couple of intermediates of one block live at once. */
const LIVE_BLOCKS = 4;

export const composed: Implementation = {
  name: 'composed',
  unsupported: () => null,
  // The engine passes kernels the very tensors that the op gave it; only tfjs's types say TensorInfo.
  forward: ({problem, inputs}) =>
    tf.tidy(
      () => composedForward(problem, inputs as AttentionInputs<Tensor>) as unknown as tf.TensorContainerObject,
    ) as unknown as AttentionResult<TensorInfo>,
  backward: ({problem, inputs, saved, wanted}) =>
    tf.tidy(() =>
      composedBackward(problem, inputs as AttentionInputs<Tensor>, saved as unknown as GradInputs<Tensor>, wanted),
    ),
  onlineSoftmax: logits => tf.softmax(logits as Tensor),
  plan: (problem: AttentionProblem) => {
    const rows = Math.min(BLOCK_ROWS, problem.Sq);
    return {
      tiles: {queries: rows, keys: problem.Sk},
      extraBytes: LIVE_BLOCKS * 4 * problem.B * problem.H * rows * problem.Sk,
      scoresInMainMemory: true,
    };
  },
};
