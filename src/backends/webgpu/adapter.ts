/** What an adapter told of the device that was opened on it. */
import type {MatrixShape} from '../../../kernels/matrix_tiling';

/** `adapterInfo` of a device and what it says of subgroups are younger than the types. */
export interface AdapterInfo {
  subgroupMinSize?: number;
  subgroupMaxSize?: number;
  subgroupMatrixConfigs?: Iterable<MatrixShape & {componentType: string; resultComponentType: string}>;
  isFallbackAdapter?: boolean;
  architecture?: string;
}

export function adapterInfoOf(device: GPUDevice): AdapterInfo | undefined {
  return (device as {adapterInfo?: AdapterInfo}).adapterInfo;
}
