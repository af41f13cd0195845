/** An einsum of two tensors as one batched matMul: axes are grouped as shared batch, rows, columns and summed, then reshaped. */
import * as tf from '@tensorflow/tfjs-core';
import {parseEinsum, withoutEllipsis} from './einsum';

export function einsumByMatMul(equation: string, a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  const parsed = parseEinsum(equation);
  const terms = parsed && withoutEllipsis(parsed, [a.rank, b.rank]);
  if (!terms) throw new Error(`Einsum '${equation}' does not fit the shapes [${a.shape}] and [${b.shape}]`);
  const {inputs: [x, y], output} = terms; // prettier-ignore
  const size = new Map<string, number>();
  [...x].forEach((letter, axis) => size.set(letter, a.shape[axis]));
  [...y].forEach((letter, axis) => size.set(letter, b.shape[axis]));
  const shared = [...x].filter(letter => y.includes(letter));
  const batch = shared.filter(letter => output.includes(letter));
  const summed = shared.filter(letter => !output.includes(letter));
  const rows = [...x].filter(letter => !y.includes(letter));
  const columns = [...y].filter(letter => !x.includes(letter));

  const left = arranged(a, x, [batch, rows, summed], [batch, summed, rows], size);
  const right = arranged(b, y, [batch, summed, columns], [batch, columns, summed], size);
  const product = tf.matMul(left.x, right.x, left.swapped, right.swapped);
  const natural = [...batch, ...rows, ...columns];
  const result = tf.reshape(product, natural.map(letter => size.get(letter)!)); // prettier-ignore
  const perm = [...output].map(letter => natural.indexOf(letter));
  return perm.every((p, axis) => p === axis) ? result : tf.transpose(result, perm);
}

/** As rank 3 (rank 2 without batch axes) in the wanted order, or in the swapped one where that needs no transpose. */
function arranged(
  x: tf.Tensor,
  letters: string,
  wanted: string[][],
  swapped: string[][],
  size: ReadonlyMap<string, number>,
): {x: tf.Tensor; swapped: boolean} {
  const isSwapped = letters === swapped.flat().join('') && letters !== wanted.flat().join('');
  const groups = isSwapped ? swapped : wanted;
  const perm = groups.flat().map(letter => letters.indexOf(letter));
  const moved = perm.every((p, axis) => p === axis) ? x : tf.transpose(x, perm);
  const shape = groups.map(group => group.reduce((n, letter) => n * size.get(letter)!, 1));
  return {x: tf.reshape(moved, groups[0].length === 0 ? shape.slice(1) : shape), swapped: isSwapped};
}
