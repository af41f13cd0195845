/** Sequences of different lengths end to end in one batch, so that no work goes into padding, and out of it again. */
import * as tf from '@tensorflow/tfjs-core';
import type {DataType, Tensor} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';

/** A batch of packed sequences, and how to get them out again. */
export interface PackedSequences {
  /** `[B, L, …]`: the sequences end to end; zeros behind the last one of a row. */
  values: Tensor;
  /**
   * int32 [B, L]: number of the sequence in the row, from 0; −1 where nothing is. For flashAttention as
   * `segmentIds: {query: segmentIds, key: segmentIds}`, for the layers as they are.
   */
  segmentIds: Tensor;
  /** int32 [B, L]: position of each token in its own sequence, from 0; for rotary or learned positions. */
  positions: Tensor;
  /** Where each sequence lies, in the order given. */
  places: ReadonlyArray<{row: number; start: number; length: number}>;
}

/** How long a row may be. */
export interface PackOptions {
  /** Longest row: sequences are spread over as few rows as first-fit-decreasing finds. Default: one row without any padding. */
  maxLength?: number;
}

/**
 * Packs sequences; attention with the result's `segmentIds` gives each what it gets alone. Causal attention needs no positions:
 * order within a row is order within each sequence.
 *
 * Source: Krell et al. (2021), "Efficient sequence packing without cross-contamination".
 *
 * @param sequences tensors [S_i, …] that differ in S_i only, or arrays of tokens (int32).
 * @param options maxLength is optional.
 * @throws Error `Argument '…' passed to 'packSequences' must …, but got …`.
 */
export function packSequences(
  sequences: ReadonlyArray<Tensor | readonly number[]>,
  options: PackOptions = {},
): PackedSequences {
  const fail = argumentError('packSequences');
  if (!Array.isArray(sequences) || sequences.length === 0) throw fail('sequences', 'be a list of tensors or token arrays', shown(sequences)); // prettier-ignore
  const {maxLength = Infinity} = options;
  if (maxLength !== Infinity && !(Number.isInteger(maxLength) && maxLength >= 1)) {
    throw fail('maxLength', 'be an integer of at least 1', shown(maxLength));
  }
  const list = sequences as ReadonlyArray<Tensor | readonly number[]>;
  const [first] = list;
  const inner = first instanceof tf.Tensor ? first.shape.slice(1) : [];
  const dtype: DataType = first instanceof tf.Tensor ? first.dtype : 'int32';
  list.forEach((sequence, n) => check(sequence, n, inner, dtype));
  const lengths = list.map(sequence => (sequence instanceof tf.Tensor ? sequence.shape[0] : sequence.length));
  const tooLong = lengths.findIndex(length => length > maxLength);
  if (tooLong >= 0)
    throw fail(`sequences[${tooLong}]`, `have at most maxLength (${maxLength}) tokens`, `${lengths[tooLong]}`);

  const {places, rows, longest} = placesOf(lengths, maxLength);
  const segments = new Int32Array(rows.length * longest).fill(-1);
  const positions = new Int32Array(rows.length * longest);
  rows.forEach((members, row) =>
    members.forEach((sequence, segment) => {
      const at = row * longest + places[sequence].start;
      segments.fill(segment, at, at + lengths[sequence]);
      for (let i = 0; i < lengths[sequence]; i++) positions[at + i] = i;
    }),
  );
  const values = tf.tidy(() => {
    const packed = rows.map(members => {
      const parts = members.map(n => tensorOf(list[n]));
      const padding = longest - members.reduce((sum, n) => sum + lengths[n], 0);
      if (padding > 0) parts.push(tf.zeros([padding, ...inner], dtype));
      return parts.length === 1 ? parts[0] : tf.concat(parts, 0);
    });
    return tf.stack(packed);
  });
  const shape: [number, number] = [rows.length, longest];
  return {
    values,
    segmentIds: tf.tensor2d(segments, shape, 'int32'),
    positions: tf.tensor2d(positions, shape, 'int32'),
    places,
  };
}

/**
 * The inverse: rows of a result in the batch's order back to one tensor [S_i, …] per sequence. Differentiable.
 * @param values [B, L, …], of any width.
 * @param packed what `packSequences` returned.
 * @returns one tensor per sequence, in the order given to `packSequences`.
 * @throws Error `Argument 'values' passed to 'unpackSequences' must …, but got …`.
 */
export function unpackSequences(values: Tensor, packed: Pick<PackedSequences, 'segmentIds' | 'places'>): Tensor[] {
  const [B, L] = packed.segmentIds.shape;
  if (values.rank < 2 || values.shape[0] !== B || values.shape[1] !== L) {
    throw argumentError('unpackSequences')(
      'values',
      `have a shape that begins with [${B},${L}], as the batch`,
      values.shape,
    );
  }
  const inner = values.shape.slice(2);
  const zeros = inner.map(() => 0);
  return packed.places.map(({row, start, length}) =>
    tf.tidy(() => tf.reshape(tf.slice(values, [row, start, ...zeros], [1, length, ...inner]), [length, ...inner])),
  );
}

/** First-fit-decreasing: the longest sequence first, each into the first row that has room. */
function placesOf(lengths: number[], maxLength: number) {
  const order = lengths.map((_, n) => n);
  if (maxLength < Infinity) order.sort((a, b) => lengths[b] - lengths[a] || a - b);
  const rows: number[][] = [];
  const used: number[] = [];
  const places = new Array<{row: number; start: number; length: number}>(lengths.length);
  for (const n of order) {
    let row = used.findIndex(length => length + lengths[n] <= maxLength);
    if (row < 0) row = rows.push([]) - 1;
    const start = used[row] ?? 0;
    places[n] = {row, start, length: lengths[n]};
    rows[row].push(n);
    used[row] = start + lengths[n];
  }
  return {places, rows, longest: Math.max(...used)};
}

function check(sequence: Tensor | readonly number[], n: number, inner: number[], dtype: DataType): void {
  const fail = argumentError('packSequences');
  const name = `sequences[${n}]`;
  if (sequence instanceof tf.Tensor) {
    const fits = sequence.rank >= 1 && tf.util.arraysEqual(sequence.shape.slice(1), inner);
    if (!fits)
      throw fail(name, `have the shape [S${inner.map(size => `,${size}`).join('')}] of the first`, sequence.shape);
    if (sequence.dtype !== dtype) throw fail(name, `be ${dtype} as the first`, `a ${sequence.dtype} tensor`);
  } else if (!Array.isArray(sequence) || inner.length > 0 || dtype !== 'int32' || !sequence.every(Number.isInteger)) {
    throw fail(name, 'be a tensor like the first, or an array of integers as all others', shown(sequence));
  }
}

function tensorOf(sequence: Tensor | readonly number[]): Tensor {
  return sequence instanceof tf.Tensor ? sequence : tf.tensor1d([...sequence], 'int32');
}
