/**
 * matMul for tensors in which NaN and infinities may stand. On webgpu, tfjs's matMul steps over the inner axis in tiles and reads
 * past its end, times 0: a NaN in one key reaches the score of the key before, or of another batch. Whole tiles end that.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor3D} from '@tensorflow/tfjs-core';

/** A multiple of every tile length that tfjs's webgpu matMul uses. */
const WHOLE_TILES = 64;

/** a · b, or aᵀ · b; [batch, ·, ·] each. */
export function product(a: Tensor3D, b: Tensor3D, transposeA = false): Tensor3D {
  return tf.matMul(wholeTiles(a, transposeA ? 1 : 2), wholeTiles(b, 1), transposeA);
}

/** a · bᵀ. */
export function timesTransposed(a: Tensor3D, b: Tensor3D): Tensor3D {
  return product(a, tf.transpose(b, [0, 2, 1]));
}

/** x with zeros up to whole tiles along the axis, on the one backend that needs it. */
function wholeTiles(x: Tensor3D, axis: 1 | 2): Tensor3D {
  const missing = (WHOLE_TILES - (x.shape[axis] % WHOLE_TILES)) % WHOLE_TILES;
  if (missing === 0 || tf.getBackend() !== 'webgpu') return x;
  return tf.pad(x, [[0, 0], axis === 1 ? [0, missing] : [0, 0], axis === 2 ? [0, missing] : [0, 0]]);
}
