/** What the attention layers are made and called with. */
import type {Shape} from '@tensorflow/tfjs-layers';
import type {AnyTensor, CallFlags, Wiring} from './call_inputs';
import type {KVCache} from './kv_cache';
import type {ProjectionArgs} from './projection_options';
import type {RotaryOptions} from './rotary';

/** Options that both layers have beside their sizes. */
export interface AttentionLayerArgs extends ProjectionArgs, CallFlags {
  /** As of every layer; default: made from the class name. */
  name?: string;
  /** As of every layer; default true. */
  trainable?: boolean;
  /** Of the query, without the batch, where the layer is the first of a model. */
  inputShape?: Shape;
  /** The same with the batch. */
  batchInputShape?: Shape;
  /** Probability in [0, 1) of dropping an attention weight in training; default 0. */
  dropout?: number;
  /** Rotary embedding of queries and keys: true, or its options; default none. */
  rotary?: RotaryOptions | boolean | null;
  /** A learned logit per query head that takes part in the softmax's denominator only; default false. */
  useSinks?: boolean;
  /** Makes dropout reproducible: the n-th call in training drops by seed + n; default: drawn per call. */
  seed?: number | null;
  /** Which input of the list is what; written by `loadKerasModel` and by symbolic calls. */
  callInputs?: Wiring | null;
}

/** Keywords of a call. Tensors may come by keyword or by position, flags also from the configuration. */
export interface AttentionCallArgs extends CallFlags {
  /** [B, S, E]; default: the query. */
  value?: AnyTensor;
  /** [B, S, E]; default: the value. */
  key?: AnyTensor;
  /** true or 1 may attend: [B, T, S], or what broadcasts to the scores [B, H, T, S]. */
  attentionMask?: AnyTensor;
  /** int32 [B, T], for self-attention over `packSequences`: a token sees its own segment only. */
  segmentIds?: AnyTensor;
  /** int32 [B, T]: positions for the rotary embedding; default 0, 1, … (with a cache: after what is cached). */
  positions?: AnyTensor;
  /** Keys and values of this call are appended, and the queries attend to all that is cached. */
  cache?: KVCache;
  /** Layer of the cache; default: the layers that are called with it take 0, 1, … in order of their first call. */
  cacheLayer?: number;
  /** With a cache: how many of the T tokens each sequence really has (the rest is padding on the right). */
  lengths?: number[];
}

/** Sizes of a layer's heads. */
export interface HeadSizes {
  H: number;
  Hkv: number;
  D: number;
  Dv: number;
}
