/**
 * Rotary position embedding: pairs of a head's channels turn by an angle that grows with the position, so that q·k depends on
 * the distance of two tokens. Source: Su et al., "RoFormer" (2021), §3.2.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';

/** Rotary position embedding of queries and keys (Su et al. 2021, §3.2). */
export interface RotaryOptions {
  /** Longest wavelength over 2π; default 10000. */
  base?: number;
  /** Pairs are neighbours (2c, 2c + 1), as in RoFormer; default false: (c, c + D/2), as in GPT-NeoX, Llama and Keras. */
  interleaved?: boolean;
  /** Added to every position; default 0. */
  positionOffset?: number;
}

export type Rotary = Required<RotaryOptions>;

/** @throws Error naming the option that cannot be used. */
export function rotaryOptions(
  layer: string,
  given: RotaryOptions | boolean | null | undefined,
  width: number,
): Rotary | null {
  if (given === undefined || given === null || given === false) return null;
  const fail = argumentError(layer);
  const {base = 10000, interleaved = false, positionOffset = 0} = given === true ? {} : given;
  if (!(Number.isFinite(base) && base > 0)) throw fail('rotary.base', 'be a number greater than 0', shown(base));
  if (!Number.isInteger(positionOffset)) throw fail('rotary.positionOffset', 'be an integer', shown(positionOffset));
  if (width % 2 !== 0) throw fail('rotary', 'be left out where a head has an odd width', shown(width));
  return {base, interleaved, positionOffset};
}

/**
 * x turned by its tokens' positions.
 * @param x [B, S, H, D], D even.
 * @param positions position of the first token, by sequence or for all, or an int32 tensor [B, S] or [S] of numbers from 0 to 2²¹ − 1.
 */
export function rotate(
  x: Tensor,
  {base, interleaved, positionOffset}: Rotary,
  positions: number | number[] | Tensor,
): Tensor {
  const [B, S, H, D] = x.shape;
  const half = D / 2;
  const [cos, sin] = angles(S, half, base, positionOffset, positions);
  const turned = (a: Tensor, b: Tensor): [Tensor, Tensor] => [
    tf.sub(tf.mul(a, cos), tf.mul(b, sin)),
    tf.add(tf.mul(b, cos), tf.mul(a, sin)),
  ];
  if (!interleaved) {
    const [a, b] = tf.split(x, 2, -1);
    return tf.concat(turned(a, b), -1);
  }
  const [a, b] = tf.split(tf.reshape(x, [B, S, H, half, 2]), 2, -1).map(part => tf.reshape(part, [B, S, H, half]));
  return tf.reshape(tf.stack(turned(a, b), -1), [B, S, H, D]);
}

/** Cosine and sine of one angle per token and channel pair: [1 or B, S, 1, D/2]. */
type Turn = [cos: Tensor, sin: Tensor];

/** Tokens' positions are counted in digits of this base where only the device knows them. */
const DIGIT = 128;
/** Three digits: positions in a tensor go up to 2²¹ − 1. */
const DIGITS = [1, DIGIT, DIGIT ** 2];

/** Sines are made on the host in float64: a GPU's own are off by up to 2⁻¹¹, and float32 loses far angles. */
function angles(S: number, half: number, base: number, offset: number, positions: number | number[] | Tensor): Turn {
  if (!(positions instanceof tf.Tensor)) {
    const starts = typeof positions === 'number' ? [positions] : positions;
    const angle = (row: number): number => starts[Math.floor(row / S)] + (row % S) + offset;
    return table(starts.length * S, half, base, angle).map(x => tf.reshape(x, [starts.length, S, 1, half])) as Turn;
  }
  const batch = positions.rank === 1 ? 1 : positions.shape[0];
  let rest = tf.reshape(tf.cast(positions, 'int32'), [-1]);
  const turns = [table(1, half, base, () => offset)];
  for (const unit of [...DIGITS].reverse()) {
    const digit = tf.floorDiv(rest, tf.scalar(unit, 'int32'));
    rest = tf.sub(rest, tf.mul(digit, tf.scalar(unit, 'int32')));
    turns.push(table(DIGIT, half, base, row => row * unit).map(x => tf.gather(x, tf.cast(digit, 'int32'))) as Turn);
  }
  const [cos, sin] = turns.reduce(([c, s], [cosOf, sinOf]) => [
    tf.sub(tf.mul(c, cosOf), tf.mul(s, sinOf)),
    tf.add(tf.mul(s, cosOf), tf.mul(c, sinOf)),
  ]);
  return [tf.reshape(cos, [batch, S, 1, half]), tf.reshape(sin, [batch, S, 1, half])];
}

/** [rows, half] for the positions of the rows. */
function table(rows: number, half: number, base: number, positionOf: (row: number) => number): Turn {
  const cos = new Float32Array(rows * half);
  const sin = new Float32Array(rows * half);
  const frequencies = Float64Array.from({length: half}, (_, c) => base ** (-c / half));
  for (let row = 0, at = 0; row < rows; row++) {
    const position = positionOf(row);
    for (let c = 0; c < half; c++, at++) {
      cos[at] = Math.cos(position * frequencies[c]);
      sin[at] = Math.sin(position * frequencies[c]);
    }
  }
  return [tf.tensor2d(cos, [rows, half]), tf.tensor2d(sin, [rows, half])];
}
