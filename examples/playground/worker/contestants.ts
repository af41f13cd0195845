/** The two ways to compute one call: the fused op, and what people write without it. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {flashAttention} from 'tfjs-flash-attention';
import type {Settings} from '../messages';
import type {Inputs} from './inputs';
import {hidingBias} from './inputs';

/** One matrix of scores that browsers still hold; two are alive at once. */
const LARGEST_SCORES = 2 ** 29;

export function flash({q, k, v, options}: Inputs): Tensor {
  return flashAttention(q, k, v, options);
}

/**
 * matMul, softmax, matMul, with what speeds it up: q is scaled instead of the scores, the bias that hides keys is made once, and
 * each matrix of scores goes as soon as it was read.
 */
export interface Chain {
  /** @param afterOp called when an op's result is there, before what it was made of goes. */
  run: (afterOp?: () => void) => Tensor;
  dispose: () => void;
}

export function makeChain({q, k, v, settings}: Inputs): Chain {
  const bias = hidingBias(settings);
  const scale = 1 / Math.sqrt(settings.D);
  return {
    run: (afterOp = () => undefined) => {
      const step = (make: () => Tensor, ...used: Tensor[]): Tensor => {
        const made = make();
        afterOp();
        tf.dispose(used);
        return made;
      };
      const scaled = step(() => tf.mul(q, scale));
      const scores = step(() => tf.matMul(scaled, k, false, true), scaled);
      const visible = bias ? step(() => tf.add(scores, bias), scores) : scores;
      const probabilities = step(() => tf.softmax(visible), visible);
      return step(() => tf.matMul(probabilities, v), probabilities);
    },
    dispose: () => void bias?.dispose(),
  };
}

/** Why the chain is not run for this call; null where it is. */
export function chainRefusal({B, H, N}: Settings): string | null {
  const bytes = 4 * B * H * N * N;
  if (bytes <= LARGEST_SCORES) return null;
  return `one matrix of its scores would take ${(bytes / 1e9).toFixed(1)} GB`;
}
