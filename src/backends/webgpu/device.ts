/** What is kept per WebGPU device: compiled pipelines, the limits that tiles are chosen by, and whether the device is lost. */
import type {DataId, KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import type {MatrixChoice, MatrixLimits, MatrixShape} from '../../../kernels/matrix_tiling';
import type {WorkgroupLimits} from '../../../kernels/tiling';

/** The part of tfjs's WebGPUBackend that is used here, private members included: tfjs has no public way to own a pipeline. */
export interface WebGPUInternals {
  device: GPUDevice;
  bufferManager: {
    acquireBuffer(size: number, usage: GPUBufferUsageFlags): GPUBuffer;
    numBytesUsed: number;
  };
  tensorMap: {get(dataId: DataId): {resource?: GPUBuffer; dtype: string}};
  commandEncoder: GPUCommandEncoder | null;
  computePassEncoder: GPUComputePassEncoder | null;
  commandQueueOwnedIds: WeakSet<DataId>;
  uniformPendingDisposal: GPUBuffer[];
  dispatchCountInPass: number;
  activeTimers: Array<{name: string; query: Promise<number>}> | null;
  supportTimestampQuery: boolean;
  querySet: GPUQuerySet | null;
  querySetCount: number;
  getQueryTime(): Promise<number>;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
  uploadToGPU(dataId: DataId): void;
  makeTensorInfo(shape: number[], dtype: 'float32' | 'int32'): TensorInfo;
  disposeData(dataId: DataId): boolean;
}

export interface DeviceState {
  pipelines: Map<string, GPUComputePipeline>;
  limits: WorkgroupLimits;
  /** The device computes with float16 (shader-f16). */
  hasHalves: boolean;
  matrices: MatrixLimits;
  /** Tiles that a benchmark tries on subgroup matrices. */
  matrixChoice?: MatrixChoice;
  /** Bytes that one binding may span. */
  bindingLimit: number;
  /** The browser's words once the device is lost. */
  lost: string | null;
}

/** `adapterInfo` of a device and what it says of subgroups are younger than the types. */
interface DeviceWithInfo {
  adapterInfo?: {
    subgroupMinSize?: number;
    subgroupMaxSize?: number;
    subgroupMatrixConfigs?: Iterable<MatrixShape & {componentType: string; resultComponentType: string}>;
    isFallbackAdapter?: boolean;
    architecture?: string;
  };
}

const states = new WeakMap<GPUDevice, DeviceState>();
/** What opened a device knows of it: not every implementation repeats an adapter's matrices in `device.adapterInfo`. */
const adapters = new WeakMap<GPUDevice, DeviceWithInfo['adapterInfo']>();

/** Keeps what the adapter told; before the first call on the device. */
export function rememberAdapter(device: GPUDevice, info: GPUAdapterInfo): void {
  adapters.set(device, info);
}

export function internalsOf(backend: KernelBackend): WebGPUInternals {
  return backend as unknown as WebGPUInternals;
}

/** Cheap after the first call for a device. */
export function stateOf({device}: WebGPUInternals): DeviceState {
  const known = states.get(device);
  if (known) return known;
  const {limits} = device;
  const features = device.features as ReadonlySet<string>;
  const info = (device as DeviceWithInfo).adapterInfo;
  const subgroup = features.has('subgroups') ? (info?.subgroupMinSize ?? 0) : 0;
  const storage = limits.maxComputeWorkgroupStorageSize;
  const invocations = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const hasHalves = features.has('shader-f16');
  const state: DeviceState = {
    pipelines: new Map(),
    hasHalves,
    matrices: {
      storage,
      invocations,
      shapes: hasHalves && features.has('chromium-experimental-subgroup-matrix') ? matrixShapes(device, info) : [],
      subgroup: info?.subgroupMaxSize === subgroup ? subgroup : 0,
    },
    limits: {
      storage,
      invocations,
      subgroup,
      software: info?.isFallbackAdapter === true || info?.architecture === 'swiftshader',
    },
    bindingLimit: Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize),
    lost: null,
  };
  states.set(device, state);
  void device.lost.then(({message, reason}) => (state.lost = message || reason || 'unknown reason'));
  return state;
}

/** The products of float16 matrices with float32 sums that the adapter lists. */
function matrixShapes(device: GPUDevice, info: DeviceWithInfo['adapterInfo']): MatrixShape[] {
  return [...(info?.subgroupMatrixConfigs ?? adapters.get(device)?.subgroupMatrixConfigs ?? [])]
    .filter(({componentType, resultComponentType}) => componentType === 'f16' && resultComponentType === 'f32')
    .map(({M, N, K}) => ({M, N, K}));
}

/** @throws Error once the device is lost: nothing that is submitted to it would ever run. */
export function checkDevice(backend: WebGPUInternals): DeviceState {
  const state = stateOf(backend);
  if (state.lost !== null) {
    throw new Error(
      `flashAttention: the WebGPU device was lost (${state.lost}). Its tensors are gone; make a new backend ` +
        `with createWebGPUBackend() or tf.removeBackend('webgpu') and tf.setBackend.`,
    );
  }
  return state;
}
