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

/** Scores, weights and an intermediate or two of one block live at once. */
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
    const {B, H, Hkv, Sq, Sk, D, Dv} = problem;
    const rows = Math.min(BLOCK_ROWS, Sq);
    const ofBlock = rows * (LIVE_BLOCKS * Sk + D + Dv);
    // Besides a block: q scaled, k transposed, the rows of the output that are done.
    return {
      tiles: {queries: rows, keys: Sk},
      keyReadings: Math.ceil(Sq / BLOCK_ROWS),
      extraBytes: 4 * B * (H * (ofBlock + Sq * (D + Dv)) + Hkv * Sk * D),
      scoresInMainMemory: true,
    };
  },
};
