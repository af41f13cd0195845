/** From safe softmax to one pass: prints what each step reads and writes, and why the last one needs no second pass. */
import {Command, InvalidArgumentError} from 'commander';
import {formatTable} from '../../src/cli/table';
import {attentionSteps, makeInput, recurrence, softmaxSteps} from './steps';
import type {Recurrence, Step} from './steps';

/** What the ways that are right may differ by: rounding scores of 100 to float32 alone makes 4e-6. */
const TOLERANCE = 2e-5;
const SHOWN_ELEMENTS = 8;

interface Options {
  n: number;
  tile: number;
  seed: number;
}

function integerFrom(least: number, most: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`It must be an integer from ${least} to ${most}.`);
    }
    return value;
  };
}

function readOptions(): Options {
  const command = new Command('online-softmax')
    .description('Softmax and attention of one row, from the textbook formula to one pass, with every access counted.')
    .option('--n <keys>', 'keys in the row', integerFrom(1, 2 ** 16), 1024)
    .option('--tile <keys>', 'keys per step of the one-pass attention', integerFrom(1, 2 ** 16), 64)
    .option('--seed <number>', 'seed of the random input', integerFrom(0, 2 ** 31), 1)
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2));
  return command.parse().opts<Options>();
}

function printSteps(title: string, steps: Step[]): void {
  const rows = steps.map(({name, passes, reads, writes, error}) => [
    name,
    String(passes.length),
    reads.toLocaleString('en'),
    writes.toLocaleString('en'),
    Number.isNaN(error) ? 'NaN: exp overflows' : error.toExponential(1),
    passes.join(', '),
  ]);
  console.log(`\n${title}\n`);
  console.log(formatTable(['', 'passes', 'reads', 'writes', 'difference', 'which passes'], rows));
}

function printRecurrence(lines: Recurrence[]): void {
  const rows = lines.map(({x, rowMax, rescale, rowSum, sumAnew}, i) => [
    String(i + 1),
    x.toFixed(3),
    rowMax.toFixed(3),
    rescale.toFixed(5),
    rowSum.toFixed(5),
    sumAnew.toFixed(5),
  ]);
  console.log(`
The recurrence: m_i = max(m_(i−1), x_i)   d_i = d_(i−1) · r_i + exp(x_i − m_i)   with r_i = exp(m_(i−1) − m_i)
`);
  console.log(formatTable(['i', 'x_i', 'm_i', 'r_i', 'd_i', 'Σ exp(x_j − m_i), summed anew'], rows));
  console.log(`
r_i is 1 while the maximum stands; where it grows, r_i moves all that was summed to the new maximum at once.

Why attention needs no second pass: the probabilities exp(x_j − m_N) / d_N are not wanted themselves, only
their sum with the values, and that sum obeys the same recurrence:
    o_i = o_(i−1) · r_i + exp(x_i − m_i) · v_i        output = o_N / d_N
so one sweep over keys and values gives the output, and neither scores nor probabilities are ever stored.`);
}

const {n, tile, seed} = readOptions();
const input = makeInput(n, seed);
const softmaxes = softmaxSteps(input);
const attentions = attentionSteps(input, tile);

printSteps(`Softmax of ${n} scores around 100 (difference: to float64)`, softmaxes);
printSteps(`Attention of one query over ${n} keys: product, softmax, product; and all in one`, attentions);
printRecurrence(recurrence(input, SHOWN_ELEMENTS));

const wrong = [...softmaxes, ...attentions].filter(
  ({name, error}) => name !== 'naive softmax' && !(error <= TOLERANCE),
);
if (wrong.length > 0) {
  console.error(`\nThese do not agree: ${wrong.map(({name}) => name).join(', ')}.`);
  process.exitCode = 1;
} else {
  console.log(`\nAll but the naive softmax agree to ${TOLERANCE}.`);
}
