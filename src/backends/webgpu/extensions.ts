/**
 * What a device may have beyond tfjs's own, which asks for none of it. The script for pages, where only that one opens, goes without
 * (rollup.config.mjs).
 */
import type {MatrixLimits, MatrixShape} from '../../../kernels/matrix_tiling';
import {adapterInfoOf} from './adapter';
import type {AdapterInfo} from './adapter';

export interface Extensions {
  /** The smallest subgroup that a kernel may meet; 0 without subgroups. */
  subgroup: number;
  /** shader-f16 */
  hasHalves: boolean;
  matrices: Pick<MatrixLimits, 'shapes' | 'subgroup' | 'storageBuffers'>;
}

/** Dawn lists no matrices in `device.adapterInfo`, only in the adapter's own. */
const adapters = new WeakMap<GPUDevice, AdapterInfo>();

/** Keeps what the adapter told; before the first call on the device. */
export function rememberAdapter(device: GPUDevice, info: GPUAdapterInfo): void {
  adapters.set(device, info);
}

export function extensionsOf(device: GPUDevice): Extensions {
  const features = device.features as ReadonlySet<string>;
  const info = adapterInfoOf(device);
  const subgroup = features.has('subgroups') ? (info?.subgroupMinSize ?? 0) : 0;
  const hasHalves = features.has('shader-f16');
  const hasMatrices = hasHalves && features.has('chromium-experimental-subgroup-matrix');
  return {
    subgroup,
    hasHalves,
    matrices: {
      shapes: hasMatrices ? shapesOf(device) : [],
      subgroup: info?.subgroupMaxSize === subgroup ? subgroup : 0,
      storageBuffers: device.limits.maxStorageBuffersPerShaderStage,
    },
  };
}

/** The products of float16 matrices with float32 sums that the adapter lists. */
function shapesOf(device: GPUDevice): MatrixShape[] {
  const lists = [adapterInfoOf(device), adapters.get(device)].map(info => [...(info?.subgroupMatrixConfigs ?? [])]);
  return lists
    .flat()
    .filter(({componentType, resultComponentType}) => componentType === 'f16' && resultComponentType === 'f32')
    .map(({M, N, K}) => ({M, N, K}));
}
