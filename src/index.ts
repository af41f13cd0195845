/**
 * FlashAttention for TensorFlow.js. Importing this module registers the kernels and gradients for the backends cpu, wasm,
 * tensorflow (tfjs-node), webgl and webgpu, and loads none of those backends.
 */
import './register';

export {flashAttention, flashAttentionWithLse} from './op/flash_attention';
export type {AttentionWithLse} from './op/flash_attention';
export type {FlashAttentionOptions} from './op/arguments';
export {mergeAttention} from './op/merge_attention';
export {onlineSoftmax} from './op/online_softmax';
export {explain} from './explain';
export type {Both, ExplainOptions, Explanation} from './explain';
export type {PassedOver} from './register';
export {roofline} from '../kernels/roofline';
export type {Bound, Roofline, RooflineOptions, RooflinePoint} from '../kernels/roofline';
export {MACHINES} from '../kernels/machines';
export type {Machine, MachineName} from '../kernels/machines';
export type {Layout, Precision} from '../kernels/options';
