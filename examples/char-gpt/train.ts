/** The training loop: Adam on pieces of the text. */
import * as tf from '@tensorflow/tfjs';
import {lossOf, oneHot} from './model';
import {randomGenerator, takeBatch} from './text';

export interface TrainOptions {
  steps: number;
  batch: number;
  T: number;
  seed: number;
  learningRate: number;
  /** Attention from matMul, softmax, matMul instead: the layers' path for returning scores. */
  unfused?: boolean;
  onStep?: (step: number, loss: number, milliseconds: number) => void;
}

/** @returns the losses of all steps. */
export async function train(model: tf.LayersModel, tokens: number[], options: TrainOptions): Promise<number[]> {
  const {steps, batch, T, seed, learningRate, unfused = false, onStep} = options;
  const vocabulary = model.inputs[0].shape[2]!;
  const random = randomGenerator(seed);
  const optimizer = tf.train.adam(learningRate);
  const losses: number[] = [];
  for (let step = 1; step <= steps; step++) {
    const start = performance.now();
    const loss = tf.tidy(() => {
      const {inputs, targets} = takeBatch(tokens, batch, T, random);
      const [x, y] = [oneHot(inputs, vocabulary), oneHot(targets, vocabulary)];
      return optimizer.minimize(() => lossOf(model, x, y, {training: true, returnAttentionScores: unfused}), true)!;
    });
    const [value] = await loss.data();
    loss.dispose();
    losses.push(value);
    onStep?.(step, value, performance.now() - start);
  }
  optimizer.dispose();
  return losses;
}
