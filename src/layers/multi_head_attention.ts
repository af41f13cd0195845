/** Keras 2.15's MultiHeadAttention for tfjs-layers, served by flashAttention. */
import {serialization} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';
import {AttentionLayer} from './attention_layer';
import type {AttentionLayerArgs} from './attention_args';

/** Keras's constructor arguments, in camel case. */
export interface MultiHeadAttentionArgs extends AttentionLayerArgs {
  /** Heads of queries, keys and values. */
  numHeads: number;
  /** Width of a head's queries and keys. */
  keyDim: number;
  /** Width of a head's values; default keyDim. */
  valueDim?: number | null;
  /** Last sizes of the output; default the query's last. */
  outputShape?: number | number[] | null;
  /** The one axis of the inputs along which tokens attend; default 1 for inputs of rank 3. */
  attentionAxes?: number | number[] | null;
}

/**
 * Multi-head attention with Keras's constructor, weights (same order, shapes and names) and call:
 * `apply(query, {value, key, attentionMask, useCausalMask, returnAttentionScores, training})`, by position
 * `apply([query, value, key, attentionMask])`; a query alone attends to itself. See `AttentionCallArgs`.
 *
 * Inputs are float32 [B, T, E], or of higher rank with `attentionAxes`; the output is [B, T, E].
 * `returnAttentionScores` takes the unfused path, which holds tensors of T × S.
 * A query for which everything is masked gets the average of all values, as in Keras.
 *
 * Source: Vaswani et al. (2017), §3.2.2; Keras 2.15, keras.layers.MultiHeadAttention.
 */
export class MultiHeadAttention extends AttentionLayer {
  /** @nocollapse */
  static className = 'MultiHeadAttention';
  private readonly widths: number[] | null;
  private readonly axes: number[] | null;

  /** @throws Error `Argument '…' passed to 'MultiHeadAttention' must …, but got …`. */
  constructor(args: MultiHeadAttentionArgs) {
    const {numHeads, keyDim, valueDim, outputShape, attentionAxes} = args;
    const fail = argumentError(MultiHeadAttention.className);
    const Dv = valueDim ?? keyDim;
    const widths = outputShape == null ? null : [outputShape].flat();
    for (const [name, size] of Object.entries({numHeads, keyDim, valueDim: Dv})) {
      if (!Number.isInteger(size) || size < 1) throw fail(name, 'be an integer of at least 1', shown(size));
    }
    if (widths?.some(size => !Number.isInteger(size) || size < 1)) {
      throw fail('outputShape', 'be integers of at least 1', shown(outputShape));
    }
    const axes = attentionAxes == null ? null : [attentionAxes].flat();
    if (axes && (axes.length !== 1 || !Number.isInteger(axes[0])))
      throw fail('attentionAxes', 'name one axis', shown(attentionAxes));
    super({H: numHeads, Hkv: numHeads, D: keyDim, Dv}, args);
    this.widths = widths;
    this.axes = axes;
  }

  protected attentionAxis(rank: number): number {
    const fail = argumentError(MultiHeadAttention.className);
    if (!this.axes && rank !== 3) throw fail('attentionAxes', `name one axis where inputs have rank ${rank}`, 'none');
    const axis = this.axes ? (this.axes[0] + rank) % rank : 1;
    if (axis < 1 || axis > rank - 2)
      throw fail('attentionAxes', `name an axis from 1 to ${rank - 2}`, shown(this.axes));
    return axis;
  }

  protected widthsOfOutput(queryWidth: number): number[] {
    return this.widths ?? [queryWidth];
  }

  override getConfig(): serialization.ConfigDict {
    const {H, D, Dv} = this.sizes;
    const own = {numHeads: H, keyDim: D, valueDim: Dv, outputShape: this.widths, attentionAxes: this.axes};
    return {...super.getConfig(), ...own};
  }
}
serialization.registerClass(MultiHeadAttention);

/**
 * A new `MultiHeadAttention`, as tf.layers makes its layers.
 * @throws Error `Argument '…' passed to 'MultiHeadAttention' must …, but got …`.
 */
export function multiHeadAttention(args: MultiHeadAttentionArgs): MultiHeadAttention {
  return new MultiHeadAttention(args);
}
