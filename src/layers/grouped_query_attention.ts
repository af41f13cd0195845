/** Keras 3's GroupedQueryAttention for tfjs-layers, served by flashAttention. */
import {serialization} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';
import {AttentionLayer} from './attention_layer';
import type {AttentionLayerArgs} from './attention_args';

/** Keras's constructor arguments, in camel case. */
export interface GroupedQueryAttentionArgs extends AttentionLayerArgs {
  /** Width of a head. */
  headDim: number;
  /** Heads of the queries. */
  numQueryHeads: number;
  /** Heads of keys and values; divides numQueryHeads. 1 is multi-query attention. */
  numKeyValueHeads: number;
}

/**
 * Attention in which groups of query heads share a key/value head; names, weights and call as in Keras 3. Inputs are float32
 * [B, T, E]; everything else as in `MultiHeadAttention`.
 *
 * Source: Ainslie et al. (2023), "GQA", §2.2; Keras 3, keras.layers.GroupQueryAttention.
 */
export class GroupedQueryAttention extends AttentionLayer {
  /** @nocollapse */
  static className = 'GroupedQueryAttention';

  /** @throws Error `Argument '…' passed to 'GroupedQueryAttention' must …, but got …`. */
  constructor(args: GroupedQueryAttentionArgs) {
    const {headDim, numQueryHeads, numKeyValueHeads} = args;
    const fail = argumentError(GroupedQueryAttention.className);
    for (const [name, size] of Object.entries({headDim, numQueryHeads, numKeyValueHeads})) {
      if (!Number.isInteger(size) || size < 1) throw fail(name, 'be an integer of at least 1', shown(size));
    }
    if (numQueryHeads % numKeyValueHeads !== 0) {
      throw fail('numKeyValueHeads', `divide numQueryHeads (${numQueryHeads})`, shown(numKeyValueHeads));
    }
    super({H: numQueryHeads, Hkv: numKeyValueHeads, D: headDim, Dv: headDim}, args);
  }

  protected attentionAxis(rank: number): number {
    if (rank !== 3)
      throw argumentError(GroupedQueryAttention.className)('query', 'be a tensor of rank 3', `one of rank ${rank}`);
    return 1;
  }

  protected widthsOfOutput(queryWidth: number): number[] {
    return [queryWidth];
  }

  override getConfig(): serialization.ConfigDict {
    const {H, Hkv, D} = this.sizes;
    return {...super.getConfig(), headDim: D, numQueryHeads: H, numKeyValueHeads: Hkv};
  }
}
serialization.registerClass(GroupedQueryAttention);

/**
 * A new `GroupedQueryAttention`, as tf.layers makes its layers.
 * @throws Error `Argument '…' passed to 'GroupedQueryAttention' must …, but got …`.
 */
export function groupedQueryAttention(args: GroupedQueryAttentionArgs): GroupedQueryAttention {
  return new GroupedQueryAttention(args);
}
