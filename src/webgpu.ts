/** tfjs-flash-attention/webgpu: opens the GPU with what the kernels can use, which tfjs's own start does not ask for. */
import './register';
import {backend, ready, registerBackend, removeBackend, setBackend} from '@tensorflow/tfjs-core';
import type {KernelBackend} from '@tensorflow/tfjs-core';
import matrixProbe from '../kernels/webgpu/matrix_probe.wgsl';
import {internalsOf, stateOf} from './backends/webgpu/device';
import {rememberAdapter} from './backends/webgpu/extensions';
import {matricesAgree} from './webgpu_matrices';

/** tfjs's WebGPUBackend class, as `@tensorflow/tfjs-backend-webgpu` exports it. */
type BackendClass = new (device: GPUDevice, adapterInfo?: GPUAdapterInfo) => KernelBackend;

/** Which adapter, and under which name. */
export interface WebGPUBackendOptions {
  /** Default 'high-performance'. */
  powerPreference?: GPUPowerPreference;
  /** The name that the backend is registered under; default 'webgpu'. */
  name?: string;
  /** Where WebGPU comes from; default `navigator.gpu`. In Node: `create([])` of the package `webgpu` (Dawn). */
  gpu?: GPU;
}

const SUBGROUP_MATRICES = 'chromium-experimental-subgroup-matrix';
/** Features that the kernels or tfjs use, in so far as the adapter has them. */
const FEATURES = ['subgroups', 'shader-f16', SUBGROUP_MATRICES, 'timestamp-query', 'bgra8unorm-storage'];

/**
 * Opens a WebGPU device with the adapter's useful features and full limits, and makes it tfjs's backend.
 * A backend of that name that exists already is removed, with its tensors.
 * @param options all optional.
 * @returns the device that the backend runs on.
 * @throws Error where there is no WebGPU or no adapter.
 */
export async function createWebGPUBackend(options: WebGPUBackendOptions = {}): Promise<GPUDevice> {
  const {powerPreference = 'high-performance', name = 'webgpu'} = options;
  provideGpu(options.gpu);
  const gpu = globalThis.navigator?.gpu;
  if (!gpu)
    throw new Error(
      'createWebGPUBackend: there is no navigator.gpu; in Node pass {gpu: create([])} of the package webgpu.',
    );
  let {adapter, device} = await openDevice(gpu, powerPreference, FEATURES);
  if (device.features.has(SUBGROUP_MATRICES) && !(await compiles(device, matrixProbe))) {
    device.destroy();
    const others = FEATURES.filter(feature => feature !== SUBGROUP_MATRICES);
    ({adapter, device} = await openDevice(gpu, powerPreference, others));
  }
  rememberAdapter(device, adapter.info);
  // Imported late: the package looks for navigator.gpu while it loads.
  const {WebGPUBackend} = (await import('@tensorflow/tfjs-backend-webgpu')) as unknown as {WebGPUBackend: BackendClass};
  removeBackend(name);
  registerBackend(name, () => new WebGPUBackend(device, adapter.info), 3);
  if (!(await setBackend(name))) throw new Error(`createWebGPUBackend: tfjs could not start the backend '${name}'.`);
  await ready();
  const {matrices} = stateOf(internalsOf(backend()));
  if (matrices.shapes.length > 0 && !(await matricesAgree(device))) {
    matrices.shapes = [];
    console.warn(
      'createWebGPUBackend: this device’s subgroup matrices gave wrong products; half precision goes without.',
    );
  }
  return device;
}

async function openDevice(gpu: GPU, powerPreference: GPUPowerPreference, features: string[]) {
  const adapter = await gpu.requestAdapter({powerPreference});
  if (!adapter) throw new Error('createWebGPUBackend: WebGPU offers no adapter.');
  const requiredFeatures = features.filter(feature => adapter.features.has(feature)) as GPUFeatureName[];
  const device = await adapter.requestDevice({requiredFeatures, requiredLimits: limitsOf(adapter)});
  return {adapter, device};
}

/** The built-ins of an experimental feature change from version to version. */
async function compiles(device: GPUDevice, code: string): Promise<boolean> {
  device.pushErrorScope('validation');
  device.createShaderModule({code});
  return (await device.popErrorScope()) === null;
}

function provideGpu(gpu: GPU | undefined): void {
  if (!gpu || globalThis.navigator?.gpu === gpu) return;
  const navigator = globalThis.navigator ?? {};
  Object.defineProperty(navigator, 'gpu', {value: gpu, configurable: true});
  Object.defineProperty(globalThis, 'navigator', {value: navigator, configurable: true});
}

/** Every numeric limit of the adapter, so that nothing is cut to a default. */
function limitsOf({limits}: GPUAdapter): Record<string, number> {
  const all: Record<string, number> = {};
  for (const name in limits) {
    const value: unknown = Reflect.get(limits, name);
    if (typeof value === 'number') all[name] = value;
  }
  return all;
}
