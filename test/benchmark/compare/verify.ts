/**
 * Holds contestants to the float64 reference at the size itself: some rows of the output, and all gradients under a gradient of the
 * output that is zero in the other rows, since then those rows alone make them.
 */
import {normalNumbers} from '../../inputs';
import type {CaseInputs} from '../../inputs';
import {attentionCase} from '../../cases';
import {expectClose, magnitude} from '../../closeness';
import {referenceAttention, referenceGradients} from '../../reference';
import {inputsOf} from './numbers';
import {nameOf, queriesOf} from './result';
import type {Problem} from './result';

const TOLERANCE = {output: 1e-5, gradient: 2e-5};
const ROWS = 4;

export interface Verifier {
  /** Throws unless the rows of `output` [H, Sq, D] are what float64 gives. */
  output(who: string, output: Float32Array): void;
  /** The gradient of the output, [H, N, D]. */
  cotangent: Float32Array;
  /** Throws unless these are the gradients of q, k and v under `cotangent`. */
  gradients(who: string, gradients: Float32Array[]): void;
}

export function verifierOf(problem: Problem): Verifier {
  const {H, N, D} = problem;
  const Sq = queriesOf(problem);
  const rows = Sq <= ROWS ? Array.from({length: Sq}, (_, row) => row) : evenly(Sq);
  const {q, k, v} = inputsOf(problem);
  /** From [H, Sq, D] to the chosen rows, or back with zeros between. */
  const chosen = (x: Float32Array): Float32Array => move(x, new Float32Array(H * rows.length * D), true);
  const spread = (x: ArrayLike<number>): Float32Array =>
    move(Float32Array.from(x), new Float32Array(H * Sq * D), false);
  function move(from: Float32Array, to: Float32Array, isGathering: boolean): Float32Array {
    for (let h = 0; h < H; h++) {
      rows.forEach((row, n) => {
        const [all, few] = [(h * Sq + row) * D, (h * rows.length + n) * D];
        const [at, target] = isGathering ? [all, few] : [few, all];
        to.set(from.subarray(at, at + D), target);
      });
    }
    return to;
  }

  const reference = attentionCase('benchmark', {H, Sq: rows.length, Sk: N, D});
  const array = (count: number, values: Float32Array) => ({shape: [1, H, count, D], dtype: 'float32' as const, values});
  const inputs: CaseInputs = {q: array(rows.length, chosen(q)), k: array(N, k), v: array(N, v)};
  // Probabilities are about 1/N: gradients of a size that the tolerance is meant for.
  const dOutput = normalNumbers(H * rows.length * D, 4, N);
  let output: Float64Array | undefined;
  let gradients: ArrayLike<number>[] | undefined;
  return {
    output: (who, actual) => {
      output ??= referenceAttention(reference, inputs).output;
      expectClose(`${who}, ${nameOf(problem)}`, chosen(actual), output, TOLERANCE.output * magnitude(output));
    },
    get cotangent() {
      return spread(dOutput);
    },
    gradients: (who, actual) => {
      if (!gradients) {
        const {q: dq, k: dk, v: dv} = referenceGradients(reference, inputs, dOutput, new Float32Array(H * rows.length));
        gradients = [spread(dq), dk, dv];
      }
      gradients.forEach((expected, n) => {
        const allowed = TOLERANCE.gradient * magnitude(expected);
        expectClose(`${who}, ${nameOf(problem)}: d${'qkv'[n]}`, actual[n], expected, allowed);
      });
    },
  };
}

function evenly(count: number): number[] {
  return Array.from({length: ROWS}, (_, n) => Math.floor((n * (count - 1)) / (ROWS - 1)));
}
