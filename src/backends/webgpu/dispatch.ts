/**
 * Runs own pipelines inside tfjs's command encoder, so that its ops and ours keep their order, its batches and its timers;
 * buffers come from tfjs's buffer manager, so that `tf.memory().numBytesInGPU` counts them.
 */
import {env, util} from '@tensorflow/tfjs-core';
import type {TensorInfo} from '@tensorflow/tfjs-core';
import {shaderSource} from '../../../kernels/webgpu/shader';
import type {Binding, ShaderPlan} from '../../../kernels/webgpu/shader';
import {uniformBytes} from '../../../kernels/webgpu/uniforms';
import type {Uniforms} from '../../../kernels/webgpu/uniforms';
import {stateOf} from './device';
import type {WebGPUInternals} from './device';

/** A range of a buffer, in floats. */
export interface Window {
  start: number;
  length: number;
}

/** A binding and what is bound; without a tensor it is absent. */
export interface Bound extends Binding {
  tensor?: TensorInfo;
  window?: Window;
}

export interface Dispatch extends Omit<ShaderPlan, 'bindings'> {
  bindings: Bound[];
  uniforms: Uniforms;
  /** Workgroups. */
  items: number;
}

export function bufferOf(backend: WebGPUInternals, tensor: TensorInfo): GPUBuffer {
  backend.uploadToGPU(tensor.dataId);
  return backend.tensorMap.get(tensor.dataId).resource!;
}

function pipelineOf(backend: WebGPUInternals, plan: ShaderPlan): GPUComputePipeline {
  const {pipelines} = stateOf(backend);
  const {kernel, exchange, constants} = plan;
  // All that the text is made of; the text itself takes too long to put together for every call.
  const inputs = plan.bindings.map(({name, kind, access, width}) => [name, kind, access, width]);
  const key = JSON.stringify([kernel, exchange, constants, inputs]);
  let pipeline = pipelines.get(key);
  if (!pipeline) {
    const code = shaderSource(plan);
    const module = backend.device.createShaderModule({code, label: plan.kernel});
    const layout = backend.device.createPipelineLayout({bindGroupLayouts: [bindGroupLayout(backend.device, plan)]});
    pipeline = backend.device.createComputePipeline({
      layout,
      compute: {module, entryPoint: 'main'},
      label: plan.kernel,
    });
    pipelines.set(key, pipeline);
  }
  return pipeline;
}

/** Stated, not derived: a derived layout lacks what a variant happens not to read. */
function bindGroupLayout(device: GPUDevice, {bindings}: ShaderPlan): GPUBindGroupLayout {
  const types: GPUBufferBindingType[] = bindings
    .filter(({kind}) => kind !== 'absent')
    .map(({access}) => (access === 'read' ? 'read-only-storage' : 'storage'));
  const entries = [...types, 'uniform' as const].map((type, binding) => ({
    binding, visibility: GPUShaderStage.COMPUTE, buffer: {type},
  })); // prettier-ignore
  return device.createBindGroupLayout({entries});
}

/** Encodes one kernel after everything that tfjs has encoded so far. */
export function dispatch(backend: WebGPUInternals, {bindings, uniforms, items, ...plan}: Dispatch): void {
  const {device} = backend;
  const pipeline = pipelineOf(backend, {...plan, bindings});
  const present = bindings.filter(({kind}) => kind !== 'absent');
  const bytes = uniformBytes({...uniforms, items});
  const uniformBuffer = backend.bufferManager.acquireBuffer(
    bytes.byteLength,
    GPUBufferUsage.COPY_DST | GPUBufferUsage.UNIFORM,
  );
  device.queue.writeBuffer(uniformBuffer, 0, bytes);
  backend.uniformPendingDisposal.push(uniformBuffer);

  const resources: GPUBufferBinding[] = present.map(({tensor, window}) => {
    const buffer = bufferOf(backend, tensor!);
    return window ? {buffer, offset: 4 * window.start, size: 4 * window.length} : {buffer};
  });
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [...resources, {buffer: uniformBuffer}].map((resource, binding) => ({binding, resource})),
  });
  for (const {tensor} of present) backend.commandQueueOwnedIds.add(tensor!.dataId);

  const timed = backend.activeTimers !== null && backend.activeTimers !== undefined;
  const pass = computePass(backend, timed);
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  const [x, y] = grid(items, device.limits.maxComputeWorkgroupsPerDimension);
  pass.dispatchWorkgroups(x, y, 1);
  backend.dispatchCountInPass++;
  if (timed) {
    backend.endComputePassEncoder();
    backend.activeTimers!.push({name: plan.kernel, query: backend.getQueryTime()});
  } else if (backend.dispatchCountInPass >= (env().get('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE') as number)) {
    backend.endComputePassEncoder();
    backend.submitQueue();
  }
}

/** The pass that tfjs has open, or a new one; under tf.time a pass of its own with timestamps. */
function computePass(backend: WebGPUInternals, timed: boolean): GPUComputePassEncoder {
  backend.ensureCommandEncoderReady();
  if (timed && backend.supportTimestampQuery) {
    backend.endComputePassEncoder();
    backend.querySet ??= backend.device.createQuerySet({type: 'timestamp', count: backend.querySetCount});
    const timestampWrites = {querySet: backend.querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1};
    backend.computePassEncoder = backend.commandEncoder!.beginComputePass({timestampWrites});
  }
  return (backend.computePassEncoder ??= backend.commandEncoder!.beginComputePass());
}

/** Workgroups in two dimensions, each within the device's limit; the kernel skips what is too many. */
function grid(items: number, limit: number): [number, number] {
  if (items <= limit) return [items, 1];
  const rows = Math.ceil(items / limit);
  return [Math.ceil(items / rows), rows];
}

/** Copies whole float32 or int32 tensors one after the other into a new buffer; `rest` floats stay free at its end. */
export function concatenate(backend: WebGPUInternals, tensors: TensorInfo[], rest: number): TensorInfo {
  const sizes = tensors.map(({shape}) => util.sizeFromShape(shape));
  const all = backend.makeTensorInfo([sizes.reduce((sum, size) => sum + size, rest)], 'int32');
  const target = bufferOf(backend, all);
  let at = 0;
  tensors.forEach((tensor, n) => {
    copy(backend, tensor, 0, target, at, sizes[n]);
    at += sizes[n];
  });
  backend.commandQueueOwnedIds.add(all.dataId);
  return all;
}

/** Encodes a copy of `size` floats. */
export function copy(
  backend: WebGPUInternals,
  from: TensorInfo,
  fromAt: number,
  to: GPUBuffer,
  toAt: number,
  size: number,
): void {
  const source = bufferOf(backend, from);
  backend.ensureCommandEncoderReady();
  backend.endComputePassEncoder();
  backend.commandEncoder!.copyBufferToBuffer(source, 4 * fromAt, to, 4 * toAt, 4 * size);
  backend.commandQueueOwnedIds.add(from.dataId);
}
