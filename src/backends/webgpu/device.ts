/** What is kept per WebGPU device: compiled pipelines, the limits that tiles are chosen by, and whether the device is lost. */
import type {DataId, KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import type {MatrixChoice, MatrixLimits} from '../../../kernels/matrix_tiling';
import type {WorkgroupLimits} from '../../../kernels/tiling';
import {adapterInfoOf} from './adapter';
import {extensionsOf} from './extensions';

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
  /** What a benchmark or a test wants there: keys and values converted once or never. Default: where it pays. */
  converts?: boolean;
  /** Bytes that one binding may span. */
  bindingLimit: number;
  /** The browser's words once the device is lost. */
  lost: string | null;
}

const states = new WeakMap<GPUDevice, DeviceState>();

export function internalsOf(backend: KernelBackend): WebGPUInternals {
  return backend as unknown as WebGPUInternals;
}

/** Cheap after the first call for a device. */
export function stateOf({device}: WebGPUInternals): DeviceState {
  const known = states.get(device);
  if (known) return known;
  const {limits} = device;
  const info = adapterInfoOf(device);
  const {subgroup, hasHalves, matrices} = extensionsOf(device);
  const storage = limits.maxComputeWorkgroupStorageSize;
  const invocations = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const state: DeviceState = {
    pipelines: new Map(),
    hasHalves,
    matrices: {storage, invocations, ...matrices},
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
