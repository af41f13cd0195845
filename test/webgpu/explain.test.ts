/** What `explain` says of a call on WebGPU, held to what is dispatched: kernels, workgroups, arrays in workgroup memory, buffers. */
import * as tf from '@tensorflow/tfjs-core';
import {explain, flashAttention} from '../../src';
import {internalsOf, stateOf} from '../../src/backends/webgpu/device';
import {describeWith, useBackend} from '../harness/node';
import {useFullDevice} from './full_device';
import {workgroupArrays} from './workgroup_arrays';

interface Watched {
  /** Kernel and workgroups, in order. */
  dispatches: Array<{kernel: string; workgroups: number}>;
  /** WGSL by kernel. */
  shaders: Record<string, string>;
  /** Of tensors, intermediate ones included. */
  bufferBytes: number;
}

/** Everything that goes to the device while `work` runs; kernels are compiled anew. */
async function watch(work: () => tf.Tensor): Promise<Watched> {
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
  const original = methods[method].bind(owner);
  methods[method] = (...args) => {
    const result = original(...args);
    look(args, result);
    return result;
  };
  return () => void Reflect.deleteProperty(owner, method);
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

/** What a kernel that `explain` names is called where it is dispatched. */
const LABELS: Record<string, string> = {
  'webgpu-plain': 'forward', 'webgpu-subgroups': 'forward', 'webgpu-decode': 'decode',
  'webgpu-half': 'forwardHalf', 'webgpu-matrix': 'forwardMatrix',
}; // prettier-ignore

const [H, Hkv, D, Dv] = [4, 2, 16, 24];

function holdsWhatItSays(what: string, Sq: number, Sk: number, kernel: string): void {
  it(`${what}: ${kernel}`, async () => {
    const [q, k, v] = [tf.ones([1, H, Sq, D]), tf.ones([1, Hkv, Sk, D]), tf.ones([1, Hkv, Sk, Dv])];
    for (const {dataId} of [q, k, v]) internalsOf(tf.backend()).uploadToGPU(dataId);
    const said = explain(q, k, v);
    const {dispatches, shaders, bufferBytes} = await watch(() => flashAttention(q, k, v));
    tf.dispose([q, k, v]);

    expect(said.kernel).toBe(kernel);
    expect(said.reasons.map(({name}) => name).sort()).toEqual([...Object.keys(LABELS).filter(name => name !== kernel), 'composed'].sort()); // prettier-ignore
    const {queries, splits} = said.tiles;
    const workgroups = Hkv * Math.ceil((Sq * (H / Hkv)) / queries) * splits;
    const own = dispatches.filter(({kernel: name}) => [...Object.values(LABELS), 'merge'].includes(name));
    expect(own[0]).toEqual({kernel: LABELS[kernel], workgroups});
    expect(own.slice(1).map(({kernel: name}) => name)).toEqual(splits > 1 ? ['merge'] : []);
    expect(said.onChip).toEqual(workgroupArrays(shaders[LABELS[kernel]]));
    const outputs = 4 * H * Sq * (Dv + 2); // with lse's two parts
    expect(said.memory.fused).toBe(bufferBytes - outputs);
  });
}

describeWith(['dawn'], 'explain on tfjs’s own device', () => {
  useBackend('webgpu');
  holdsWhatItSays('few keys', 70, 40, 'webgpu-plain');
  holdsWhatItSays('keys in parts', 70, 600, 'webgpu-plain');
});

describeWith(['dawn'], 'explain on a device with subgroups', () => {
  useFullDevice();
  holdsWhatItSays('keys in parts', 70, 300, 'webgpu-subgroups');
  holdsWhatItSays('few queries', 2, 300, 'webgpu-decode');
});
