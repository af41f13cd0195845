/** The same inputs in every process: normal numbers by seed. */
import {normalNumbers} from '../../inputs';
import {queriesOf} from './result';
import type {Problem} from './result';

export interface Inputs {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
}

/** Heads first. */
export function inputsOf(problem: Problem): Inputs {
  const {H, N, D} = problem;
  const [q, k, v] = [queriesOf(problem), N, N].map((rows, n) => normalNumbers(H * rows * D, n + 1));
  return {q, k, v};
}

/** [H, rows, D] → [rows, H, D], or back with `rows` and `H` exchanged. */
export function transposed(x: Float32Array, H: number, rows: number, D: number): Float32Array {
  const result = new Float32Array(x.length);
  for (let h = 0; h < H; h++) {
    for (let row = 0; row < rows; row++) {
      const from = (h * rows + row) * D;
      result.set(x.subarray(from, from + D), (row * H + h) * D);
    }
  }
  return result;
}
