/**
 * The half-precision kernels for real on a device that has neither float16 nor subgroup matrices: what the compiler gets is
 * their own text, with float16 and the matrix built-ins replaced by the loops of matrix_emulated.wgsl.
 */
import * as tf from '@tensorflow/tfjs-core';
import {matrixBytes, matrixTileRows, matrixTiles} from '../../kernels/matrix_tiling';
import type {MatrixChoice, MatrixShape} from '../../kernels/matrix_tiling';
import matrixTypes from '../../kernels/webgpu/matrix_types.wgsl';
import {internalsOf, stateOf} from '../../src/backends/webgpu/device';
import type {DeviceState} from '../../src/backends/webgpu/device';
import type {AttentionCase} from '../cases';
import {deviceOf} from '../harness/error_scopes';
import emulated from './matrix_emulated.wgsl';

export type HalfPrecision = 'float16' | 'float16x2';
export const SIXTEEN = {M: 16, N: 16, K: 16};
export const EIGHT = {M: 8, N: 8, K: 8};

/** As in matrix_emulated.wgsl. */
const ROUNDED = `{
  return select(quantizeToF16(x), round(x * 16777216.0) / 16777216.0, abs(x) < vec4f(0.00006103515625));
}
fn packed_halves(x: vec4f) -> vec2u { return vec2u(pack2x16float(x.xy), pack2x16float(x.zw)); }`;

/** How a kernel's keys and values are read. */
function halfAt(code: string): string {
  const source = code.includes('halves: array<vec4u') ? 'unpacked(halves[n / 8u], n)' : 'halves[n / 4u][n % 4u]';
  return `fn half_at(n: u32) -> f32 { return ${source}; }\n`;
}

/** WGSL without float16, subgroups and subgroup matrices, which means the same. */
export function emulate(code: string): string {
  if (!code.includes('enable f16;')) return code;
  const plain = code.replace('enable f16;\n', '').replaceAll('vec4<f16>', 'vec4f');
  if (!code.includes('subgroup_matrix'))
    return plain
      .replace('return TileVector(', 'return quantizeToF16(')
      .replace('{ return vec4f(x); }', ROUNDED)
      .replace('bitcast<vec2u>(to_half(x))', 'packed_halves(to_half(x))');
  return plain
    .replace('enable subgroups;\n', '')
    .replace('enable chromium_experimental_subgroup_matrix;\n', '')
    .replace(matrixTypes, emulated + halfAt(code))
    .replaceAll(/subgroupMatrixLoad<(\w+), (\w+)>\(\s*&(\w+)\[(\w+)\],/g, 'load_$1_$2_$3($4,')
    .replaceAll(/subgroupMatrixLoad<(\w+), (\w+)>\(\s*&(\w+),/g, 'load_$1_$2_$3(')
    .replaceAll(/subgroupMatrixStore<(\w+)>\(\s*&(\w+)\[(\w+)\],/g, 'store_$1_$2($3,')
    .replaceAll(/ {2}@builtin\(subgroup_\w+\) \w+: u32,\n/g, '')
    .replace('subgroupLane = subgroupIndex;', 'subgroupLane = index % SUBGROUP;')
    .replace('run(item, subgroup);', 'run(item, index / SUBGROUP);');
}

/** Makes the kernels believe in float16 and in matrices of this shape, computed by subgroups of this size. */
export function emulateHalves(device: GPUDevice, state: DeviceState, shape: MatrixShape, subgroup: number): void {
  state.hasHalves = true;
  state.matrices = {...state.matrices, shapes: [shape], subgroup};
  state.pipelines.clear();
  if (Object.hasOwn(device, 'createShaderModule')) return;
  const compile = device.createShaderModule.bind(device);
  device.createShaderModule = descriptor => compile({...descriptor, code: emulate(descriptor.code)});
}

/** Halves take four bytes in the emulated kernel, and its queries lie in workgroup memory: it is planned for less of that. */
export function useMatrices(
  c: Pick<AttentionCase, 'D' | 'Dv'>,
  precision: HalfPrecision,
  shape = SIXTEEN,
  choice?: MatrixChoice,
): void {
  const state = stateOf(internalsOf(tf.backend()));
  emulateHalves(deviceOf(tf.backend()), state, shape, 32);
  state.matrixChoice = choice;
  const {matrices, limits} = state;
  const pairs = precision === 'float16x2';
  for (matrices.storage = limits.storage / 2; matrices.storage > 0; matrices.storage -= 1024) {
    const tiles = matrixTiles(c.D, c.Dv, pairs, matrices, choice);
    if (typeof tiles === 'string') break;
    const queries = (pairs ? 2 : 1) * matrixTileRows(tiles) * (c.D + 16) * 4;
    if (2 * matrixBytes(tiles, c.D, c.Dv) + queries <= limits.storage) return;
  }
  throw new Error(`no tiles of widths ${c.D} and ${c.Dv} can be emulated`);
}

export const withPrecision = (c: AttentionCase, precision: HalfPrecision): AttentionCase => ({
  ...c,
  name: `${c.name} in ${precision}`,
  options: {...c.options, precision},
});
