/**
 * The names, inputs and attributes of the tfjs kernels, apart from any implementation.
 *
 * tfjs saves all inputs of a kernel for its gradient only when they come as an array, so the inputs travel as a list and
 * the attribute `inputNames` says which role each one has.
 */
import type {NamedAttrMap, NamedTensorMap, Tensor, TensorInfo} from '@tensorflow/tfjs-core';
import {INPUT_NAMES} from '../../kernels/problem';
import type {AttentionInputs, AttentionProblem, InputName} from '../../kernels/problem';

/** Inputs: a list named by `inputNames`. Outputs: output, lse, lseLow (see `AttentionResult`). */
export const FlashAttention = 'FlashAttention';

export interface FlashAttentionAttrs {
  problem: AttentionProblem;
  inputNames: InputName[];
  /** Nobody will look at lse and lseLow: they may hold anything, where computing them costs time. */
  ignoresLse?: boolean;
  /** Places in `inputNames` that a gradient is asked for, once one is; absent where nothing is known. */
  asked?: string[];
}

/** What the forward kernel gives; lse and lseLow are [B, H, Sq]. */
export interface AttentionResult<T> {
  /** In q's layout, last dimension Dv. */
  output: T;
  /** log Σ exp(score) per query, rounded to float32; −∞ where nothing is visible. */
  lse: T;
  /**
   * What rounding took from lse: exp(score − lse − lseLow) is normalised to float32 even where |lse| is 1e9 (a row whose
   * bias is −1e9 everywhere), which lse alone cannot say. 0 where lse is −∞.
   */
  lseLow: T;
}

/**
 * Inputs: those of FlashAttention, then output, lse, lseLow, the gradient of output and the gradient of lse.
 * Outputs: the gradients that `wanted` names: [dq], [dk, dv], [dbias] (rank 4, the bias's shape) or [dsinks]; behind [dk, dv]
 * also dq, where `usesDq` and from an implementation that has it at hand there.
 */
export const FlashAttentionGrad = 'FlashAttentionGrad';

export type WantedGradient = 'q' | 'kv' | 'bias' | 'sinks';

export interface FlashAttentionGradAttrs extends FlashAttentionAttrs {
  wanted: WantedGradient;
  /** dq will be asked for, too. */
  usesDq: boolean;
}

/** What the backward kernel gets besides the forward inputs. */
export interface GradInputs<T> extends AttentionResult<T> {
  dOutput: T;
  dLse: T;
}

/** Input: logits of rank 2 [rows, classes]; output: softmax over the last axis. */
export const OnlineSoftmax = 'OnlineSoftmax';

/** tfjs asks for gradients in the inputs' order: k's comes first, since dv and on some backends dq fall off with it. */
const LISTED: readonly InputName[] = ['k', 'v', 'q', ...INPUT_NAMES.filter(name => !['q', 'k', 'v'].includes(name))];

/** The inputs that are there, with their names. */
export function listInputs<T>(inputs: AttentionInputs<T>): {names: InputName[]; list: T[]} {
  const names = LISTED.filter(name => inputs[name] !== undefined);
  return {names, list: names.map(name => inputs[name]!)};
}

/** The inverse of `listInputs`; what follows the named ones in the list comes back as `rest`. */
export function nameInputs<T>(names: InputName[], list: T[]): {inputs: AttentionInputs<T>; rest: T[]} {
  const inputs = Object.fromEntries(names.map((name, i) => [name, list[i]])) as unknown as AttentionInputs<T>;
  return {inputs, rest: list.slice(names.length)};
}

/** tfjs types kernel inputs and attributes more narrowly than it treats them: these two casts are that boundary. */
export function asInputMap(list: Tensor[]): NamedTensorMap {
  return list as unknown as NamedTensorMap;
}
export function asAttrMap(attrs: FlashAttentionAttrs): NamedAttrMap {
  return attrs as unknown as NamedAttrMap;
}

/** A kernel's arguments as tfjs passes them, read back into names. */
export interface ForwardCall {
  problem: AttentionProblem;
  inputs: AttentionInputs<TensorInfo>;
  /** See `FlashAttentionAttrs`. */
  ignoresLse?: boolean;
}
export interface BackwardCall extends ForwardCall {
  wanted: WantedGradient;
  /** See `FlashAttentionGradAttrs`. */
  usesDq: boolean;
  saved: GradInputs<TensorInfo>;
}

export function readForwardCall(inputs: unknown, attrs: unknown): ForwardCall {
  const {problem, inputNames, ignoresLse} = attrs as FlashAttentionAttrs;
  return {problem, inputs: nameInputs(inputNames, inputs as TensorInfo[]).inputs, ignoresLse};
}

export function readBackwardCall(list: unknown, attrs: unknown): BackwardCall {
  const {problem, inputNames, wanted, usesDq} = attrs as FlashAttentionGradAttrs;
  const {inputs, rest} = nameInputs(inputNames, list as TensorInfo[]);
  const [output, lse, lseLow, dOutput, dLse] = rest;
  return {problem, inputs, wanted, usesDq, saved: {output, lse, lseLow, dOutput, dLse}};
}
