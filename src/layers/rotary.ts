/**
 * Rotary position embedding: pairs of a head's channels turn by an angle that grows with the position, so that q·k depends on
 * the distance of two tokens. Source: Su et al., "RoFormer" (2021), §3.2.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';

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
 * @param positions position of the first token, by sequence or for all, or an int32 tensor [B, S] or [S].
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

/** Cosine and sine of [1 or B, S, 1, D/2]; from float64 where the host knows the positions, as float32 loses far angles. */
function angles(
  S: number,
  half: number,
  base: number,
  offset: number,
  positions: number | number[] | Tensor,
): [Tensor, Tensor] {
  const frequencies = Float64Array.from({length: half}, (_, c) => base ** (-c / half));
  if (positions instanceof tf.Tensor) {
    const given = tf.cast(positions.rank === 1 ? tf.expandDims(positions, 0) : positions, 'float32');
    const angle = tf.mul(
      tf.reshape(tf.add(given, offset), [given.shape[0], S, 1, 1]),
      tf.tensor1d(Float32Array.from(frequencies)),
    );
    return [tf.cos(angle), tf.sin(angle)];
  }
  const starts = typeof positions === 'number' ? [positions] : positions;
  const cos = new Float32Array(starts.length * S * half);
  const sin = new Float32Array(cos.length);
  let at = 0;
  for (const start of starts) {
    for (let i = 0; i < S; i++) {
      for (let c = 0; c < half; c++, at++) {
        const angle = (start + offset + i) * frequencies[c];
        cos[at] = Math.cos(angle);
        sin[at] = Math.sin(angle);
      }
    }
  }
  return [tf.tensor4d(cos, [starts.length, S, 1, half]), tf.tensor4d(sin, [starts.length, S, 1, half])];
}
