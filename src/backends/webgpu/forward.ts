/** The forward pass on WebGPU: tiled kernels with or without subgroups, split keys, and the kernel for few queries. */
import type {TensorInfo} from '@tensorflow/tfjs-core';
import type {Constants} from '../../../kernels/header';
import {shapesOf} from '../../../kernels/problem';
import type {AttentionProblem} from '../../../kernels/problem';
import type {OnChip} from '../../../kernels/tiling';
import type {Exchange} from '../../../kernels/webgpu/shader';
import type {AttentionResult, ForwardCall} from '../../op/kernels';
import {floats, optionConstants, optionalBindings, partOf, partsOf, problemUniforms, smallInputs} from './call';
import {convertKeys} from './convert';
import type {WebGPUInternals} from './device';
import {stateOf} from './device';
import {bufferOf, copy, dispatch} from './dispatch';
import type {Bound} from './dispatch';

/** How a forward call is run. */
export interface ForwardPlan {
  kernel: 'forward' | 'forwardHalf' | 'forwardMatrix' | 'decode';
  exchange: Exchange;
  /** Tile sizes as the kernel is compiled with them. */
  constants: Constants;
  /** Query rows, heads of a group included, that one workgroup serves. */
  tileRows: number;
  /** Keys of a tile, and blocks that it is handled in. */
  keys: number;
  blocks: number;
  /** Of keys and values that a kernel of its own converts before this one; absent or 0 without. */
  convertedBytes?: number;
  /** Parts that the keys of a row are cut into. */
  splits: number;
  /** For `explain`: tile sizes and bytes of workgroup memory by name, which variant this is, and why the others are not. */
  tiles: Record<string, number>;
  onChip: OnChip;
  variant?: string;
  passedOver?: Array<{name: string; reason: string}>;
}

/** Whether the kernel rounds k and v to float16. */
export function seesHalves({kernel}: ForwardPlan, {precision}: AttentionProblem): boolean {
  return kernel === 'forwardHalf' || (kernel === 'forwardMatrix' && precision === 'float16');
}

/** What a kernel needs to know that works on one element an invocation. */
const ELEMENTWISE = {LANES: 1, ROWS: 1, KEYS: 1, BLOCK: 1};

/** Floats that the parts of split rows take. */
export function partialSize({B, H, Sq, Dv}: AttentionProblem, splits: number): number {
  return splits > 1 ? splits * B * H * Sq * (Dv + 2) : 0;
}

/** Floats held besides inputs and outputs: those, lse's two parts where they share a binding, and copies of small inputs. */
export function extraSize(problem: AttentionProblem, splits: number): number {
  const {B, H, Sq, Sk, alibi} = problem;
  const small = [
    alibi === 'none' ? [] : alibi === 'perHead' ? H : B * H,
    problem.hasKeyLengths ? B : [],
    problem.hasQueryOffset ? B : [],
    problem.hasSegments ? [B * Sq, B * Sk] : [],
    problem.hasSinks ? H : [],
  ].flat();
  const sharesLse = splits === 1 && problem.bias && problem.mask && small.length > 0;
  const copied = small.length > 1 ? small.reduce((sum, size) => sum + size) : 0;
  return partialSize(problem, splits) + (sharesLse ? 2 * B * H * Sq : 0) + copied;
}

export function runForward(
  backend: WebGPUInternals,
  {problem, inputs}: ForwardCall,
  plan: ForwardPlan,
): AttentionResult<TensorInfo> {
  const {B, H, Sq, Sk, Dv} = problem;
  const rows = B * H * Sq;
  const {splits, keys} = plan;
  const split = splits > 1;
  const output = backend.makeTensorInfo(shapesOf(problem).output, 'float32');
  const lse = backend.makeTensorInfo([B, H, Sq], 'float32');
  const lseLow = backend.makeTensorInfo([B, H, Sq], 'float32');
  const small = smallInputs(backend, inputs, problem);
  const constants = {...optionConstants(problem), ...plan.constants, SPLIT: split};
  const common = {...problemUniforms(problem), ...small.uniforms};
  // Whole tiles, and whole quads, which dropout draws for.
  const grain = Math.max(4, keys);
  const keysPerSplit = Math.ceil(Sk / splits / grain) * grain;

  // Where all optional inputs are there, lse's two parts share a binding; so do the maxima and sums of split rows.
  const crowded = inputs.bias !== undefined && inputs.mask !== undefined && small.tensor !== undefined;
  const together = split || crowded ? backend.makeTensorInfo([2 * (split ? splits : 1) * rows], 'float32') : undefined;
  const partial = split ? backend.makeTensorInfo([splits * rows * Dv], 'float32') : undefined;
  const lseBindings = together
    ? [floats('lse', together, 'read_write')]
    : [floats('lse', lse, 'read_write'), floats('lseLow', lseLow, 'read_write')];
  const converted = convertKeys(backend, problem, inputs, plan.convertedBytes, constants, common);
  const lseLowStart = (split ? splits : 1) * rows;

  for (const part of partsOf(problem, stateOf(backend).bindingLimit)!) {
    const {uniforms, row, bias, mask} = partOf(problem, part);
    const toPartial = {oBatch: H * Sq * Dv, oHead: Sq * Dv, oRow: Dv, oStart: 0, oSplit: rows * Dv};
    const tileCount = Math.ceil((Sq * (H / problem.Hkv)) / plan.tileRows);
    const target: Bound = partial
      ? {name: 'output', kind: 'row', access: 'read_write', tensor: partial, width: Dv}
      : row('output', 'output', output, 'read_write');
    dispatch(backend, {
      kernel: plan.kernel,
      exchange: plan.exchange,
      constants,
      bindings: [
        row('q', 'q', inputs.q),
        row('k', 'k', inputs.k),
        row('v', 'v', inputs.v),
        ...optionalBindings(small.tensor, inputs, {bias, mask}),
        target,
        ...lseBindings,
        ...converted,
      ],
      uniforms: {
        ...common,
        ...uniforms,
        ...(split ? toPartial : {}),
        tiles: tileCount,
        blocks: plan.blocks,
        splits,
        splitKeys: keysPerSplit,
        lseLowStart,
      },
      items: tileCount * splits * part.heads * part.batches,
    });
    if (partial) merge(backend, part);
  }
  if (together && !split) {
    copy(backend, together, 0, bufferOf(backend, lse), 0, rows);
    copy(backend, together, rows, bufferOf(backend, lseLow), 0, rows);
  }
  for (const temporary of [
    together,
    partial,
    small.owned ? small.tensor : undefined,
    ...converted.map(({tensor}) => tensor),
  ]) {
    if (temporary) backend.disposeData(temporary.dataId);
  }
  return {output, lse, lseLow};

  function merge(on: WebGPUInternals, part: Parameters<typeof partOf>[1]): void {
    const {uniforms, row} = partOf(problem, part);
    const threads = 64;
    dispatch(on, {
      kernel: 'merge',
      exchange: 'single',
      constants: {...optionConstants(problem), ...ELEMENTWISE, THREADS: threads},
      bindings: [
        {name: 'part', kind: 'row', access: 'read', tensor: partial!, width: Dv},
        floats('partMax', together!),
        ...optionalBindings(small.tensor),
        row('output', 'output', output, 'read_write'),
        floats('lse', lse, 'read_write'),
        floats('lseLow', lseLow, 'read_write'),
      ],
      uniforms: {...common, ...uniforms, splits},
      items: Math.ceil((rows * Math.ceil(Dv / 4)) / threads),
    });
  }
}
