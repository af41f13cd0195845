/** The same model from the same seed on fused attention and on the chain: do the losses agree, and what does each step take? */
import * as tf from '@tensorflow/tfjs';
import {formatTable} from '../../src/cli/table';
import {lossOf, makeGpt, oneHot} from './model';
import type {GptSizes} from './model';
import {randomGenerator, takeBatch} from './text';
import {train} from './train';
import type {TrainOptions} from './train';

const LENGTHS = [256, 1024];
const ROUNDS = 3;
/** Loss curves may differ by this. */
const TOLERANCE = 1e-3;

interface Cost {
  milliseconds: number;
  megabytes: number;
}

/** @returns whether the curves agree. */
export async function compare(sizes: GptSizes, tokens: number[], options: TrainOptions): Promise<boolean> {
  const seeded = {...sizes, dropout: 0};
  const curves: number[][] = [];
  for (const unfused of [false, true]) {
    const model = makeGpt(seeded, options.seed);
    curves.push(await train(model, tokens, {...options, unfused}));
    model.dispose();
  }
  const [fused, chain] = curves;
  const difference = Math.max(...fused.map((loss, step) => Math.abs(loss - chain[step])));
  const shown = [1, 10, 20, 30, 40, 50].filter(step => step <= fused.length);
  console.log(formatTable(['step', 'loss, fused', 'loss, chain'], shown.map(step => [String(step), fused[step - 1].toFixed(5), chain[step - 1].toFixed(5)]))); // prettier-ignore
  console.log(`\nLargest difference in ${fused.length} steps: ${difference.toExponential(1)} (at most ${TOLERANCE})\n`);

  const rows: string[][] = [];
  for (const T of LENGTHS) {
    const model = makeGpt(seeded, options.seed);
    const {inputs, targets} = takeBatch(repeat(tokens, T + 1), 1, T, randomGenerator(options.seed));
    const x = oneHot(inputs, seeded.vocabulary);
    const y = oneHot(targets, seeded.vocabulary);
    const [a, b] = await costs([false, true].map(unfused => () => step(model, x, y, unfused)));
    rows.push([
      `${T}`,
      a.milliseconds.toFixed(0),
      b.milliseconds.toFixed(0),
      a.megabytes.toFixed(1),
      b.megabytes.toFixed(1),
    ]);
    tf.dispose([x, y]);
    model.dispose();
  }
  console.log(`A training step of one text of T characters on ${tf.getBackend()}`);
  console.log(
    formatTable(['T', 'fused, ms', 'chain, ms', 'fused, peak MB of tensors', 'chain, peak MB of tensors'], rows),
  );
  return difference <= TOLERANCE;
}

/** Loss and gradients of one batch; the weights stay. */
async function step(model: tf.LayersModel, x: tf.Tensor, y: tf.Tensor, unfused: boolean): Promise<void> {
  const {value, grads} = tf.variableGrads(() => lossOf(model, x, y, {training: true, returnAttentionScores: unfused}));
  await value.data();
  tf.dispose(value);
  tf.dispose(grads);
}

/** Medians of runs that take turns. */
async function costs(runs: Array<() => Promise<void>>): Promise<Cost[]> {
  const times = runs.map((): number[] => []);
  for (let round = -1; round < ROUNDS; round++) {
    for (const [n, run] of runs.entries()) {
      const start = performance.now();
      await run();
      if (round >= 0) times[n].push(performance.now() - start);
    }
  }
  const results: Cost[] = [];
  for (const [n, run] of runs.entries()) {
    const before = tf.memory().numBytes;
    const {peakBytes} = await tf.profile(async () => {
      await run();
      return tf.scalar(0);
    });
    results.push({
      milliseconds: times[n].sort((a, b) => a - b)[ROUNDS >> 1],
      megabytes: (peakBytes - before) / 2 ** 20,
    });
  }
  return results;
}

/** The text over and over, until it is long enough. */
function repeat(tokens: number[], length: number): number[] {
  return tokens.length > length ? tokens : repeat([...tokens, ...tokens], length);
}
