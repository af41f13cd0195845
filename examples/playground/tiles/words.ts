/** What a step of the walk does, in a sentence. */
import type {Step, Walk} from './walk';

const number = (value: number): string => value.toFixed(2);

export function stepWords({sweeps, steps}: Walk, n: number): string {
  if (n < 0) return 'Nothing is read yet. Step forward to take the first tile.';
  const step = steps[n];
  const kind = sweeps[step.sweep];
  const where = `Sweep ${step.sweep + 1} of ${sweeps.length} (${kind}), tile ${step.tile + 1}: `;
  const isLast = n === steps.length - 1;
  return where + does(kind, step) + (isLast ? ' That was the last step: the output is there.' : '');
}

function does(kind: string, {rowMax, rowSum, rescale, tile, output}: Step): string {
  switch (kind) {
    case 'scores':
      return 'keys are read, their scores q·k are written.';
    case 'max':
      return `scores are read; the maximum so far is ${number(rowMax!)}.`;
    case 'sum':
      return `scores are read again; the sum of exp(score − ${number(rowMax!)}) so far is ${number(rowSum!)}.`;
    case 'max and sum':
      return `scores are read; ${corrected(tile, rowMax!, rescale!, 'the sum')} The sum so far is ${number(rowSum!)}.`;
    case 'normalise':
      return 'scores are read once more, probabilities exp(score − max) / sum are written.';
    case 'output':
      return `probabilities and values are read; the output so far is ${output!.map(number).join(', ')}.`;
    default:
      return `keys and values are read, no score is written; ${corrected(tile, rowMax!, rescale!, 'sum and output')} The sum so far is ${number(rowSum!)}.`;
  }
}

function corrected(tile: number, rowMax: number, rescale: number, what: string): string {
  if (tile === 0) return `the maximum is ${number(rowMax)}.`;
  if (rescale === 1) return `the maximum stays ${number(rowMax)}.`;
  return `the maximum grows to ${number(rowMax)}, so ${what} made so far shrink by exp(old − new) = ${number(rescale)}.`;
}
