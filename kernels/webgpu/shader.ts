/**
 * Puts a WebGPU kernel together: constants, uniforms, bindings and the accessors of optional inputs in front of static WGSL.
 * It is made of a `ShaderPlan` alone, which therefore is the pipeline's cache key.
 */
import {wgslHeader} from '../header';
import type {Constants} from '../header';
import {uniformDeclaration} from './uniforms';
import {MATRIX_BODIES, enables, stageOf} from './matrix_bodies';
import {unroll} from './unroll';
import attend from './attend.wgsl';
import backwardKV from './backward_kv.wgsl';
import backwardQ from './backward_q.wgsl';
import bias from './backward_bias.wgsl';
import decode from './decode.wgsl';
import delta from './delta.wgsl';
import entryMatrix from './entry_matrix.wgsl';
import entryPlain from './entry_plain.wgsl';
import entrySubgroup from './entry_subgroup.wgsl';
import finish from './finish.wgsl';
import forward from './forward.wgsl';
import gradient from './gradient.wgsl';
import lanes from './lanes.wgsl';
import lanesNatural from './lanes_natural.wgsl';
import lanesSingle from './lanes_single.wgsl';
import lanesSubgroup from './lanes_subgroup.wgsl';
import lanesWorkgroup from './lanes_workgroup.wgsl';
import keep from './keep.wgsl';
import merge from './merge.wgsl';
import places from './places.wgsl';
import rowScalar from './row_scalar.wgsl';
import rowVec4 from './row_vec4.wgsl';
import sinks from './backward_sinks.wgsl';
import softmax from './softmax.wgsl';
import storeScalar from './store_scalar.wgsl';
import storeVec4 from './store_vec4.wgsl';
import sumParts from './sum_parts.wgsl';
import tileFloat from './tile_float.wgsl';
import tileHalf from './tile_half.wgsl';

const BODIES = {
  forward: finish + keep + attend + tileFloat + forward,
  forwardHalf: finish + keep + attend + tileHalf + forward,
  ...MATRIX_BODIES,
  decode: finish + decode,
  merge: finish + merge,
  delta,
  backwardQ: gradient + keep + backwardQ,
  backwardKV: gradient + backwardKV,
  backwardBias: gradient + bias,
  backwardSinks: sinks,
  sumParts,
  softmax,
} as const;

export type KernelName = keyof typeof BODIES;

/** How the invocations that share a row exchange values. */
export type Exchange = 'single' | 'subgroup' | 'workgroup';

/** Rows of vec4 or of single floats, arrays of a WGSL type, or an input that the kernel may lack (`absent` takes no binding). */
export type BindingKind = 'row' | 'f32' | 'i32' | 'KeyTile' | 'absent';

export interface Binding {
  name: string;
  kind: BindingKind;
  access: 'read' | 'read_write';
  /** Of a row: its width in floats. */
  width?: number;
}

export interface ShaderPlan {
  kernel: KernelName;
  exchange: Exchange;
  constants: Constants;
  /** In binding order; the uniforms follow them. */
  bindings: Binding[];
}

/** A vec4 access needs rows that start at multiples of 4 floats. */
const isVec4 = ({kind, width}: Binding): boolean => kind === 'row' && width! % 4 === 0;

/** The complete WGSL text of a kernel. */
export function shaderSource({kernel, exchange, constants, bindings}: ShaderPlan): string {
  const present = bindings.filter(({kind}) => kind !== 'absent');
  const declarations = present.map((binding, i) => {
    const type = isVec4(binding) ? 'vec4f' : binding.kind === 'row' ? 'f32' : binding.kind;
    return `@group(0) @binding(${i}) var<storage, ${binding.access}> ${binding.name}: array<${type}>;\n`;
  });
  const numbers = constants as Record<string, number>;
  const shares = laneShares(kernel, numbers);
  const subgroup = kernel === 'decode' ? lanesNatural : lanesSubgroup;
  const exchanges = {single: lanesSingle, subgroup, workgroup: lanesWorkgroup};
  return [
    enables(kernel, exchange),
    wgslHeader({...constants, ...shares}),
    uniformDeclaration(present.length),
    ...declarations,
    ...bindings.map(accessor),
    lseAccessor(bindings),
    places,
    lanes,
    // The stage comes last: an NVIDIA compiler (driver 580.159) gives wrong numbers where its functions stand before the types.
    unroll(exchanges[exchange] + BODIES[kernel] + stageOf(kernel, constants), {...numbers, ...shares}),
    kernel === 'forwardMatrix' ? entryMatrix : exchange === 'subgroup' ? entrySubgroup : entryPlain,
  ].join('');
}

/** How a kernel's lanes share rows and blocks, as lanes.wgsl tells; the bounds of unrolled loops are made of it, too. */
function laneShares(kernel: KernelName, {D, DV, LANES, ROWS, BLOCK}: Record<string, number>): Record<string, number> {
  const slice = (width: number): number => Math.ceil(Math.ceil(width / 4) / LANES);
  // Scores that pass through workgroup memory come to all lanes of a row; lanes_natural keeps whole rows.
  const ROW_LANES = kernel === 'forwardMatrix' || kernel === 'decode' ? 1 : Math.min(LANES, ROWS);
  const KEY_LANES = Math.min(LANES / ROW_LANES, BLOCK);
  const COPIES = LANES / (ROW_LANES * KEY_LANES);
  const OWN = BLOCK / KEY_LANES;
  return {
    ROW_LANES, KEY_LANES, COPIES, OWN_ROWS: ROWS / ROW_LANES, OWN, QUADS: Math.ceil(OWN / 4),
    ROW_STEPS: Math.log2(ROW_LANES), KEY_STEPS: Math.log2(KEY_LANES), COPY_STEPS: Math.log2(COPIES),
    QK_SLICE: slice(D), V_SLICE: slice(DV),
  }; // prettier-ignore
}

/** A small function in place of direct access: as data where the input is there, as a constant where it is not. */
function accessor(binding: Binding): string {
  const {name, kind, access, width} = binding;
  if (kind === 'absent' && access === 'read_write') {
    return `fn store_${name}(base: u32, c: u32, x: vec4f) {}\n`;
  }
  if (kind === 'row') {
    const vec4 = isVec4(binding);
    const text = access === 'read' ? (vec4 ? rowVec4 : rowScalar) : vec4 ? storeVec4 : storeScalar;
    return text.replaceAll('TENSOR', name).replaceAll('WIDTH', `${width}u`);
  }
  const absent = kind === 'absent';
  switch (name) {
    case 'bias':
      return `fn load_bias(at: u32) -> f32 { return ${absent ? '0.0' : 'bias[at]'}; }\n`;
    case 'mask':
      return `fn load_mask(at: u32) -> bool { return ${absent ? 'true' : 'mask[at] != 0'}; }\n`;
    case 'small':
      return `fn load_small(at: u32) -> i32 { return ${absent ? '0' : 'small[at]'}; }\n`;
    default:
      return '';
  }
}

/** Where the kernel stores lse: in two buffers, or one after the other in one where bindings are short. */
function lseAccessor(bindings: Binding[]): string {
  if (!bindings.some(({name}) => name === 'lse')) return '';
  const low = bindings.some(({name}) => name === 'lseLow') ? 'lseLow[at]' : 'lse[u.lseLowStart + at]';
  return `fn store_lse(at: u32, high: f32, low: f32) { lse[at] = high; ${low} = low; }\n`;
}
