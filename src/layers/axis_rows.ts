/** Inputs of any rank as [B, T, E] and back: one axis is attended along, all others before the last are batch. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {argumentError} from '../../kernels/options';

export class AxisRows {
  private readonly rank: number;
  /** Sizes of the batch axes. */
  private readonly leading: number[];
  private readonly T: number;
  private readonly S: number;

  /**
   * @param axis the attended axis of query and value.
   * @throws Error where the batch axes of query and value differ.
   */
  constructor(
    private readonly layer: string,
    private readonly axis: number,
    query: Tensor,
    value: Tensor,
  ) {
    this.rank = query.rank;
    this.leading = this.batchSizes(query);
    this.T = query.shape[axis];
    this.S = value.shape[axis];
    if (!tf.util.arraysEqual(this.leading, this.batchSizes(value))) {
      throw argumentError(layer)('value', `have the query's batch sizes [${this.leading}]`, value.shape);
    }
  }

  private batchSizes({shape}: Tensor): number[] {
    return shape.slice(0, -1).filter((_, n) => n !== this.axis);
  }

  /** Does the axis stand right before the last one, so that nothing must move? */
  private get isInPlace(): boolean {
    return this.axis === this.rank - 2;
  }

  /** Axes with the attended one moved behind the batch axes; the last stays last. */
  private order(rank: number): number[] {
    const others = Array.from({length: this.rank - 1}, (_, n) => n).filter(n => n !== this.axis);
    return [...others, this.axis, ...(rank === this.rank ? [rank - 1] : [])];
  }

  /** [B, T, E]. */
  flatten(x: Tensor): Tensor {
    const moved = this.isInPlace ? x : tf.transpose(x, this.order(x.rank));
    return x.rank === 3 ? moved : tf.reshape(moved, [-1, x.shape[this.axis], x.shape[x.rank - 1]]);
  }

  /** A mask of x's shape without the last axis, as [B, T]. */
  flattenMask(mask: Tensor): Tensor {
    if (mask.rank !== this.rank - 1) {
      throw argumentError(this.layer)(
        'mask',
        `be of rank ${this.rank - 1}, as its tensor without the last axis`,
        mask.shape,
      );
    }
    // Transposed as float32: webgpu's transpose knows no bool.
    const move = (x: Tensor): Tensor => tf.cast(tf.transpose(tf.cast(x, 'float32'), this.order(mask.rank)), 'bool');
    return tf.reshape(this.isInPlace ? mask : move(mask), [-1, mask.shape[this.axis]]);
  }

  /** A mask as Keras takes it, as rank 4 that broadcasts to [B, H, T, S]: missing axes are put before the last two. */
  flattenAttentionMask(mask: Tensor, H: number): Tensor {
    const scores = [...this.leading, H, this.T, this.S];
    const missing = scores.length - mask.rank;
    const shape = [...mask.shape.slice(0, -2), ...Array<number>(Math.max(0, missing)).fill(1), ...mask.shape.slice(-2)];
    const fits = mask.rank >= 2 && missing >= 0 && shape.every((size, n) => size === 1 || size === scores[n]);
    if (!fits)
      throw argumentError(this.layer)('attentionMask', `broadcast to the scores' shape [${scores}]`, mask.shape);
    if (scores.length === 4) return tf.reshape(mask, shape);
    const full = tf.broadcastTo(tf.reshape(mask, shape), [...this.leading, ...shape.slice(-3)]);
    return tf.reshape(full, [-1, ...shape.slice(-3)]);
  }

  /** [B, T, …] with the query's axes again. */
  restore(x: Tensor): Tensor {
    if (this.rank === 3) return x;
    const widths = x.shape.slice(2);
    const spread = tf.reshape(x, [...this.leading, this.T, ...widths]);
    if (this.isInPlace) return spread;
    const order = this.order(this.rank - 1);
    const back = order.map((_, n) => order.indexOf(n));
    return tf.transpose(spread, [...back, ...widths.map((_, n) => order.length + n)]);
  }

  /** [B, H, T, S] with the batch axes again. */
  restoreScores(scores: Tensor): Tensor {
    return this.rank === 3 ? scores : tf.reshape(scores, [...this.leading, ...scores.shape.slice(1)]);
  }
}
