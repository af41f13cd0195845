/**
 * The half-precision kernels for real on a device that has neither float16 nor subgroup matrices: what the compiler gets is
 * their own text, with float16 and the matrix built-ins replaced by the loops of matrix_emulated.wgsl.
 */
import type {MatrixShape} from '../../kernels/matrix_tiling';
import matrixTypes from '../../kernels/webgpu/matrix_types.wgsl';
import type {DeviceState} from '../../src/backends/webgpu/device';
import emulated from './matrix_emulated.wgsl';

/** WGSL without float16, subgroups and subgroup matrices, which means the same. */
export function emulate(code: string): string {
  if (!code.includes('enable f16;')) return code;
  const plain = code.replace('enable f16;\n', '').replaceAll('vec4<f16>', 'vec4f');
  if (!code.includes('subgroup_matrix')) return plain.replace('return TileVector(', 'return quantizeToF16(');
  return plain
    .replace('enable subgroups;\n', '')
    .replace('enable chromium_experimental_subgroup_matrix;\n', '')
    .replace(matrixTypes, emulated)
    .replaceAll(/subgroupMatrixLoad<(\w+), (\w+)>\(\s*&(\w+),/g, 'load_$1_$2_$3(')
    .replaceAll(/subgroupMatrixStore<(\w+)>\(\s*&(\w+),/g, 'store_$1_$2(')
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
