/** The op in layers, in generation and in packed batches: `tfjs-flash-attention/layers`. */
import '../register';

export {MultiHeadAttention, multiHeadAttention} from './multi_head_attention';
export type {MultiHeadAttentionArgs} from './multi_head_attention';
export {GroupedQueryAttention, groupedQueryAttention} from './grouped_query_attention';
export type {GroupedQueryAttentionArgs} from './grouped_query_attention';
export type {AttentionCallArgs, AttentionLayerArgs} from './attention_args';
export type {RotaryOptions} from './rotary';
export {KVCache} from './kv_cache';
export type {KVCacheOptions} from './kv_cache';
export type {CacheAttendOptions} from './cache_attend';
export {loadKerasModel} from './load_keras_model';
export {packSequences, unpackSequences} from './pack_sequences';
export type {PackedSequences, PackOptions} from './pack_sequences';
