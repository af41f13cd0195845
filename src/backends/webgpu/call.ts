/** One call as bindings, constants and uniforms: what forward and backward kernels have in common. */
import {util} from '@tensorflow/tfjs-core';
import type {TensorInfo} from '@tensorflow/tfjs-core';
import type {Constants} from '../../../kernels/header';
import {dropThreshold} from '../../../kernels/cpu/philox';
import {namedStrides, scoresStrides, shapesOf, stridesOf} from '../../../kernels/problem';
import type {AttentionInputs, AttentionProblem} from '../../../kernels/problem';
import type {Uniforms} from '../../../kernels/webgpu/uniforms';
import type {WebGPUInternals} from './device';
import {concatenate} from './dispatch';
import type {Bound, Window} from './dispatch';

/** The batches and key heads that one dispatch serves. */
export interface Part {
  batchStart: number;
  batches: number;
  headStart: number;
  heads: number;
}

/** Tensors that a binding shows by their rows, and the strides that their parts are cut by. */
export type RowTensor = 'q' | 'k' | 'v' | 'output';

export function optionConstants(
  {bias, mask, alibi, softcap, dropout, ...problem}: AttentionProblem,
  seenAsHalves = false,
): Constants {
  return {
    D: problem.D,
    DV: problem.Dv,
    HAS_BIAS: bias !== null,
    HAS_MASK: mask !== null,
    HAS_ALIBI: alibi !== 'none',
    HAS_LENGTHS: problem.hasKeyLengths,
    HAS_OFFSETS: problem.hasQueryOffset,
    HAS_SEGMENTS: problem.hasSegments,
    HAS_SINKS: problem.hasSinks,
    HAS_SOFTCAP: softcap > 0,
    HAS_DROPOUT: dropout > 0,
    SEEN_AS_HALVES: seenAsHalves,
  };
}

export function problemUniforms(problem: AttentionProblem): Uniforms {
  const {H, Hkv, Sk, bias, mask, dropout} = problem;
  const {q, k, v, output} = stridesOf(problem);
  return {
    ...problem, // more than uniforms, which count by their names alone
    group: H / Hkv,
    splits: 1,
    splitKeys: Sk,
    ...namedStrides('q', q),
    ...namedStrides('k', k),
    ...namedStrides('v', v),
    ...namedStrides('o', output),
    ...(bias && namedStrides('bias', scoresStrides(bias))),
    ...(mask && namedStrides('mask', scoresStrides(mask))),
    keepScale: 1 / (1 - dropout),
    dropBelow: dropThreshold(dropout),
  };
}

/** The small inputs in one buffer: where each lies, and what to give back. */
export interface SmallInputs {
  tensor?: TensorInfo;
  uniforms: Uniforms;
  /** Where `rest` begins. */
  restAt: number;
  /** The buffer is a copy that the caller disposes of. */
  owned: boolean;
}

/** Gathers the small inputs on the device; `more` and `rest` floats follow them. Their values are never read here. */
export function smallInputs(
  backend: WebGPUInternals,
  inputs: AttentionInputs<TensorInfo>,
  problem: AttentionProblem,
  more: TensorInfo[] = [],
  rest = 0,
): SmallInputs {
  const {alibiSlopes, keyLengths, queryOffset, querySegments, keySegments, sinks} = inputs;
  const named = {
    slopesAt: alibiSlopes,
    lengthsAt: keyLengths,
    offsetsAt: queryOffset,
    querySegmentsAt: querySegments,
    keySegmentsAt: keySegments,
    sinksAt: sinks,
  };
  const uniforms: Uniforms = {slopesBatch: problem.alibi === 'perBatchAndHead' ? problem.H : 0};
  const tensors: TensorInfo[] = [];
  let at = 0;
  for (const [name, tensor] of Object.entries(named) as Array<[keyof typeof named, TensorInfo | undefined]>) {
    if (!tensor) continue;
    uniforms[name] = at;
    at += util.sizeFromShape(tensor.shape);
    tensors.push(tensor);
  }
  if (rest + more.length === 0 && tensors.length < 2) return {tensor: tensors[0], uniforms, restAt: at, owned: false};
  return {tensor: concatenate(backend, [...tensors, ...more], rest), uniforms, restAt: at, owned: true};
}

/** Cuts a call into parts whose bindings stay within the limit; null where not even one head of one batch does. */
export function partsOf(problem: AttentionProblem, limit: number): Part[] | null {
  const {B, Hkv} = problem;
  const fits = (part: Part): boolean => largestWindow(problem, part) * 4 <= limit;
  const parts: Part[] = [];
  const whole = {batchStart: 0, batches: B, headStart: 0, heads: Hkv};
  if (fits(whole)) return [whole];
  for (let batchStart = 0; batchStart < B; batchStart++) {
    const batch = {batchStart, batches: 1, headStart: 0, heads: Hkv};
    if (fits(batch)) {
      parts.push(batch);
      continue;
    }
    // Heads lie apart only where they come before the rows.
    if (problem.layout !== 'BHSD') return null;
    let heads = Hkv - 1;
    while (heads > 0 && !fits({...batch, heads})) heads--;
    if (heads === 0) return null;
    for (let headStart = 0; headStart < Hkv; headStart += heads) {
      parts.push({...batch, headStart, heads: Math.min(heads, Hkv - headStart)});
    }
  }
  return parts;
}

/** 256 bytes: offsets of bindings are multiples of it on every device. */
const ALIGNMENT = 64;

/** The window of a tensor whose batches and heads (query or key heads) lie at these strides. */
function windowOf(
  problem: AttentionProblem,
  part: Part,
  size: number,
  batch: number,
  head: number,
  perKeyHead: number,
): Window {
  const whole = part.heads === problem.Hkv;
  const ofBatch = batch === 0 ? size : batch;
  const start = part.batchStart * batch + (whole ? 0 : part.headStart * perKeyHead * head);
  const length = whole
    ? batch === 0
      ? size
      : part.batches * batch
    : head === 0
      ? ofBatch
      : part.heads * perKeyHead * head;
  const aligned = Math.floor(start / ALIGNMENT) * ALIGNMENT;
  return {start: aligned, length: Math.min(size, start + length) - aligned};
}

function windows(problem: AttentionProblem, part: Part) {
  const strides = stridesOf(problem);
  const shapes = shapesOf(problem);
  const group = problem.H / problem.Hkv;
  const rows = (name: RowTensor, perKeyHead: number): Window =>
    windowOf(problem, part, util.sizeFromShape(shapes[name]), strides[name].batch, strides[name].head, perKeyHead);
  const scores = (shape: readonly number[] | null): Window => {
    const full = (shape ?? [1, 1, 1, 1]) as [number, number, number, number];
    const {batch, head} = scoresStrides(full);
    return windowOf(problem, part, util.sizeFromShape([...full]), batch, head, group);
  };
  return {
    q: rows('q', group),
    k: rows('k', 1),
    v: rows('v', 1),
    output: rows('output', group),
    bias: scores(problem.bias),
    mask: scores(problem.mask),
  };
}

function largestWindow(problem: AttentionProblem, part: Part): number {
  return Math.max(...Object.values(windows(problem, part)).map(({length}) => length));
}

/** Bindings and uniforms that show one part of the call. */
export function partOf(problem: AttentionProblem, part: Part) {
  const of = windows(problem, part);
  const uniforms: Uniforms = {
    batchStart: part.batchStart,
    headStart: part.headStart,
    heads: part.heads,
    qStart: of.q.start,
    kStart: of.k.start,
    vStart: of.v.start,
    oStart: of.output.start,
    biasStart: of.bias.start,
    maskStart: of.mask.start,
  };
  const row = (name: string, like: RowTensor, tensor: TensorInfo, access: 'read' | 'read_write' = 'read'): Bound => ({
    name, kind: 'row', access, tensor, window: of[like], width: like === 'q' || like === 'k' ? problem.D : problem.Dv,
  }); // prettier-ignore
  return {uniforms, row, bias: of.bias, mask: of.mask};
}

/** Bias, mask and small inputs, absent where the call, or what the kernel reads of it, lacks them. */
export function optionalBindings(
  small?: TensorInfo,
  inputs: Partial<AttentionInputs<TensorInfo>> = {},
  part: {bias?: Window; mask?: Window} = {},
): Bound[] {
  const optional = (name: string, kind: 'f32' | 'i32', tensor: TensorInfo | undefined, window?: Window): Bound =>
    tensor ? {name, kind, access: 'read', tensor, window} : {name, kind: 'absent', access: 'read'};
  return [
    optional('bias', 'f32', inputs.bias, part.bias),
    optional('mask', 'i32', inputs.mask, part.mask),
    optional('small', 'i32', small),
  ];
}

/** A whole tensor of floats. */
export function floats(name: string, tensor: TensorInfo, access: 'read' | 'read_write' = 'read'): Bound {
  return {name, kind: 'f32', access, tensor};
}
