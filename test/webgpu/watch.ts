/** What goes to a WebGPU device while some work runs: kernels, workgroups, WGSL and bytes of buffers. */
import * as tf from '@tensorflow/tfjs-core';
import {internalsOf, stateOf} from '../../src/backends/webgpu/device';

export interface Watched {
  /** Kernel and workgroups, in order. */
  dispatches: Array<{kernel: string; workgroups: number}>;
  /** WGSL by kernel. */
  shaders: Record<string, string>;
  /** Of tensors, intermediate ones included. */
  bufferBytes: number;
}

/** Everything that goes to the device while `work` runs; kernels are compiled anew. */
export async function watch(work: () => tf.Tensor): Promise<Watched> {
  const internals = internalsOf(tf.backend());
  const {device, bufferManager} = internals;
  const seen: Watched = {dispatches: [], shaders: {}, bufferBytes: 0};
  stateOf(internals).pipelines.clear();
  internals.ensureCommandEncoderReady();
  internals.endComputePassEncoder();
  internals.submitQueue(); // what is open would not be seen
  const restores = [
    lookAt(bufferManager, 'acquireBuffer', ([size, usage]) => {
      const isTensor = ((usage as number) & (GPUBufferUsage.UNIFORM | GPUBufferUsage.MAP_READ)) === 0;
      if (isTensor) seen.bufferBytes += size as number;
    }),
    lookAt(device, 'createShaderModule', ([descriptor]) => {
      const {label, code} = descriptor as GPUShaderModuleDescriptor;
      seen.shaders[label ?? ''] = code;
    }),
    lookAt(device, 'createCommandEncoder', (_, made) => {
      const encoder = made as GPUCommandEncoder;
      const begin = encoder.beginComputePass.bind(encoder);
      encoder.beginComputePass = descriptor => watchedPass(begin(descriptor), seen);
    }),
  ];
  try {
    const output = work();
    await output.data();
    output.dispose();
  } finally {
    restores.forEach(restore => restore());
  }
  return seen;
}

/** Lets a method's calls be seen, arguments and result, until the answer is called. */
function lookAt(owner: object, method: string, look: (args: unknown[], result: unknown) => void): () => void {
  const methods = owner as Record<string, (...args: unknown[]) => unknown>;
  const [before, isOwn] = [methods[method], Object.hasOwn(owner, method)];
  const original = before.bind(owner);
  methods[method] = (...args) => {
    const result = original(...args);
    look(args, result);
    return result;
  };
  return () => void (isOwn ? (methods[method] = before) : Reflect.deleteProperty(owner, method));
}

function watchedPass(pass: GPUComputePassEncoder, {dispatches}: Watched): GPUComputePassEncoder {
  const [setPipeline, dispatch] = [pass.setPipeline.bind(pass), pass.dispatchWorkgroups.bind(pass)];
  let kernel = '';
  pass.setPipeline = pipeline => {
    kernel = pipeline.label;
    setPipeline(pipeline);
  };
  pass.dispatchWorkgroups = (x, y = 1, z = 1) => {
    dispatches.push({kernel, workgroups: x * y * z});
    dispatch(x, y, z);
  };
  return pass;
}
