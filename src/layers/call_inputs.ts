/**
 * Which input of an attention layer is what. tfjs-layers runs a model by giving each layer the list of its inputs and nothing
 * that was said in the symbolic call, and disposes an input too early when it stands in the list twice. So the layer sends
 * every tensor through that list once, and keeps a wiring from roles to places in it, and the flags of its call.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {SymbolicTensor} from '@tensorflow/tfjs-layers';
import type {layers} from '@tensorflow/tfjs-layers';
import {argumentError, shown} from '../../kernels/options';

/** In the order of a positional call. */
export const ROLES = ['query', 'value', 'key', 'attentionMask', 'segmentIds', 'positions'] as const;
export type Role = (typeof ROLES)[number];

export type AnyTensor = Tensor | SymbolicTensor;
export type Kwargs = Record<string, unknown>;

/** Place in the list of inputs, by role. */
export type Wiring = Partial<Record<Role, number>> & {query: number};

/** What a symbolic call may fix for every later call of the layer. */
export interface CallFlags {
  /** Query i attends to keys j ≤ i (Keras's alignment: both count from 0); with a cache, to all that is cached and j ≤ i. */
  useCausalMask?: boolean;
  /** The layer returns [output, scores]; takes the unfused path. */
  returnAttentionScores?: boolean;
  /** Overrides whether dropout is active. */
  training?: boolean;
}

export const FLAGS = ['useCausalMask', 'returnAttentionScores', 'training'] as const satisfies ReadonlyArray<
  keyof CallFlags
>;

/** Keras's raw JSON for a tensor, where stock tfjs passes it on: [layer name, node, tensor]. */
export type TensorReference = [string, number, number];

export function isTensorReference(x: unknown): x is TensorReference {
  return Array.isArray(x) && x.length === 3 && typeof x[0] === 'string' && x.slice(1).every(Number.isInteger);
}

export function isSymbolic(x: unknown): x is SymbolicTensor {
  return x instanceof SymbolicTensor;
}

export function asList<T>(x: T | T[]): T[] {
  return Array.isArray(x) ? x : [x];
}

/** The wiring of a positional call with `count` inputs. */
export function positionalWiring(count: number): Wiring {
  const roles = ROLES.slice(0, count).map((role, place) => [role, place] as const);
  return {query: 0, ...Object.fromEntries(roles)};
}

export interface WiredInputs {
  /** Each tensor once. */
  list: AnyTensor[];
  wiring: Wiring;
}

/** Roles → list without duplicates. */
export function wire(byRole: Partial<Record<Role, AnyTensor>>): WiredInputs {
  const list: AnyTensor[] = [];
  const wiring: Partial<Record<Role, number>> = {};
  for (const role of ROLES) {
    const tensor = byRole[role];
    if (tensor === undefined) continue;
    if (!list.includes(tensor)) list.push(tensor);
    wiring[role] = list.indexOf(tensor);
  }
  return {list, wiring: wiring as Wiring};
}

/** List → roles. */
export function unwire<T>(list: T[], wiring: Wiring): Partial<Record<Role, T>> & {query: T} {
  const entries = Object.entries(wiring).map(([role, place]) => [role, list[place]]);
  return Object.fromEntries(entries) as Partial<Record<Role, T>> & {query: T};
}

/** How many inputs a wiring speaks of. */
export function inputCount(wiring: Wiring): number {
  return 1 + Math.max(...Object.values(wiring));
}

export function sameWiring(a: Wiring, b: Wiring): boolean {
  return ROLES.every(role => a[role] === b[role]);
}

/** Keywords without those that are absent (undefined or null), flags apart. */
export function splitFlags(kwargs: Kwargs): {flags: CallFlags; rest: Kwargs} {
  const present = Object.entries(kwargs).filter(([, value]) => value !== undefined && value !== null);
  const isFlag = ([name]: [string, unknown]): boolean => FLAGS.includes(name as keyof CallFlags);
  return {
    flags: Object.fromEntries(present.filter(isFlag)),
    rest: Object.fromEntries(present.filter(entry => !isFlag(entry))),
  };
}

/** A call taken apart: each tensor once, its roles, the flags, and what is left of the keywords. */
export interface GatheredCall extends WiredInputs {
  flags: CallFlags;
  rest: Kwargs;
}

/**
 * @param wiring how the layer's list of inputs is read when no keyword names a tensor and the count agrees.
 * @param tensorOf checks a keyword's tensor.
 */
export function gatherCall(
  inputs: AnyTensor | AnyTensor[],
  kwargs: Kwargs,
  wiring: Wiring | null,
  tensorOf: (name: Role, value: unknown) => AnyTensor,
): GatheredCall {
  const {flags, rest} = splitFlags(kwargs);
  const byName: Partial<Record<Role, AnyTensor>> = {};
  for (const role of ROLES) {
    if (rest[role] !== undefined) byName[role] = tensorOf(role, rest[role]);
  }
  const positional = asList(inputs);
  const isWired = wiring !== null && Object.keys(byName).length === 0 && positional.length === inputCount(wiring);
  const byRole = unwire(positional, isWired ? wiring : positionalWiring(positional.length));
  const others = Object.entries(rest).filter(([name]) => !ROLES.includes(name as Role));
  return {...wire({...byRole, ...byName}), flags, rest: Object.fromEntries(others)};
}

/** Does Keras's [layer name, node, tensor], its name perhaps in tfjs's camel case, mean this tensor? */
function refersTo([name, node, index]: TensorReference, tensor: SymbolicTensor): boolean {
  const {sourceLayer, nodeIndex, tensorIndex} = tensor;
  const camel = sourceLayer.name.replace(/[-_]+(\w)/g, (_, letter: string) => letter.toUpperCase());
  return (name === sourceLayer.name || name === camel) && node === (nodeIndex ?? 0) && index === (tensorIndex ?? 0);
}

/** A keyword's tensor; of Keras's raw JSON, which stock tfjs passes on, only the query itself can be recognised. */
export function keywordTensor(layer: layers.Layer, name: string, value: unknown, query: AnyTensor): AnyTensor {
  if (value instanceof tf.Tensor || isSymbolic(value)) return value;
  if (isTensorReference(value)) {
    if (isSymbolic(query) && refersTo(value, query)) return query;
    throw new Error(
      `Layer '${layer.name}' (${layer.getClassName()}) takes '${name}' from layer '${value[0]}', which tf.loadLayersModel does ` +
        `not connect: load this model by loadKerasModel from 'tfjs-flash-attention/layers'.`,
    );
  }
  throw argumentError(layer.getClassName())(name, 'be a tensor', shown(value));
}
