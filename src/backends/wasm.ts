/** Backends `cpu` and `wasm`: the WebAssembly SIMD kernels of kernels/wasm. */
import {engine, env} from '@tensorflow/tfjs-core';
import type {DataId, KernelBackend, TensorInfo, TypedArray} from '@tensorflow/tfjs-core';
import {mapInputs, shapesOf, stridesOf} from '../../kernels/problem';
import type {AttentionInputs, AttentionProblem} from '../../kernels/problem';
import type {OnChip} from '../../kernels/tiling';
import {attentionBackward, attentionForward} from '../../kernels/wasm/attention';
import type {Addresses} from '../../kernels/wasm/attention';
import {runsVariant} from '../../kernels/wasm/module';
import {isDecode, partialBytes, scratchOf, tilingOf} from '../../kernels/wasm/tiling';
import type {Tiling} from '../../kernels/wasm/tiling';
import type {AttentionResult, BackwardCall, ForwardCall} from '../op/kernels';
import type {Implementation} from './implementation';
import {chosenVariant, THREADED_FROM_FLAG, THREADS_FLAG} from './wasm_settings';
import {tfjsMemory, wasmArrays, workInPlace, workOnCopies, workOnThreads} from './wasm_workplace';
import type {HostArrays, Workplace} from './wasm_workplace';

/** The part of tfjs's MathBackendCPU that is used here. */
interface ArrayBackend {
  data: {get(dataId: DataId): {values: TypedArray}};
  makeTensorInfo(shape: number[], dtype: 'float32', values: Float32Array): TensorInfo;
}

const cpuArrays = (backend: KernelBackend): HostArrays => {
  const arrays = backend as unknown as ArrayBackend;
  return {
    read: info => arrays.data.get(info.dataId).values,
    make: (shape, values) => arrays.makeTensorInfo(shape, 'float32', values),
  };
};

/** tfjs-node's values, copied out of TensorFlow and into it. The engine reads, too, what another backend still holds. */
const nodeArrays = (backend: KernelBackend): HostArrays => ({
  read: info => engine().readSync(info.dataId) as TypedArray,
  make: (shape, values) => ({dataId: backend.write(values, shape, 'float32'), shape, dtype: 'float32'}),
});

/** Backend `cpu`: the tensors' typed arrays are copied in and out. */
export const cpuSimd = simdImplementation(backend => workOnCopies(cpuArrays(backend), chosenVariant()), cpuArrays);

/** Backend `wasm`: one thread works on tfjs's own memory where it can be reached. */
export const wasmSimd = simdImplementation(
  backend => {
    const memory = tfjsMemory(backend);
    return memory ? workInPlace(backend, memory, chosenVariant()) : workOnCopies(wasmArrays(backend), chosenVariant());
  },
  wasmArrays,
  tfjsMemory,
);

/** Backend `tensorflow` (tfjs-node). */
export const nodeSimd = simdImplementation(backend => workOnCopies(nodeArrays(backend), chosenVariant()), nodeArrays);

function missingSimd(): string | null {
  return runsVariant('simd') ? null : 'this JavaScript engine has no WebAssembly SIMD';
}

/** Bytes of the large tensors of a call, its result included. */
function tensorBytes(problem: AttentionProblem): number {
  const {q, k, v, output} = shapesOf(problem);
  const size = (shape: readonly number[] | null): number => (shape ?? [0]).reduce((product, n) => product * n, 1);
  return [q, k, v, output, problem.bias].reduce((sum, shape) => sum + 4 * size(shape), size(problem.mask));
}

/** Of a call that works on copies: those of its tensors, of both parts of lse and, of few queries, room for one split of k and v. */
function copiedBytes(problem: AttentionProblem, {kernel, splitKeys}: Tiling): number {
  const {B, H, Sq} = problem;
  const {k, v} = stridesOf(problem);
  const room = kernel === 'decode' ? 4 * splitKeys * (k.row + v.row) - keyBytes(problem) : 0;
  return tensorBytes(problem) + 8 * B * H * Sq + room;
}

export const keyBytes = ({B, Hkv, Sk, D, Dv}: AttentionProblem): number => 4 * B * Hkv * Sk * (D + Dv);

/** WebAssembly addresses 4 GiB; the backward pass holds every tensor of the call and its gradient. */
function tooLarge(problem: AttentionProblem): string | null {
  const gigabytes = (2 * tensorBytes(problem)) / 2 ** 30;
  return gigabytes < 3.5 ? null : `its tensors and gradients take ${gigabytes.toFixed(1)} GiB, WebAssembly addresses 4`;
}

/** Threads for a call: by its size, and the settings. Reading K and V once leaves nothing to gain that copying them would not cost. */
function threadsFor(problem: AttentionProblem): number {
  const {B, H, Sq, Sk, D, Dv} = problem;
  if (isDecode(problem)) return 1;
  const multiplyAdds = B * H * Sq * Sk * (D + Dv);
  return multiplyAdds < env().getNumber(THREADED_FROM_FLAG) ? 1 : env().getNumber(THREADS_FLAG);
}

function simdImplementation(
  workplaceOfOneThread: (backend: KernelBackend) => Workplace,
  arraysOf: (backend: KernelBackend) => HostArrays,
  memoryInPlace: (backend: KernelBackend) => WebAssembly.Memory | null = () => null,
): Implementation {
  const workplaceOf = (backend: KernelBackend, problem: AttentionProblem): Workplace => {
    const threads = threadsFor(problem);
    const shared = threads > 1 ? workOnThreads(arraysOf(backend), chosenVariant(), threads) : null;
    return shared ?? workplaceOfOneThread(backend);
  };
  return {
    name: 'simd',
    unsupported: problem => missingSimd() ?? tooLarge(problem),
    forward: ({problem, inputs}: ForwardCall, backend): AttentionResult<TensorInfo> => {
      const {B, H, Sq} = problem;
      const work = workplaceOf(backend, problem);
      try {
        const output = work.result(shapesOf(problem).output);
        const lse = work.result([B, H, Sq]);
        const lseLow = work.result([B, H, Sq]);
        const {k, v, ...others} = inputs;
        const outside = isDecode(problem) && work.valuesOf ? {k: work.valuesOf(k), v: work.valuesOf(v)} : undefined;
        const addresses = addressesOf(outside ? (others as typeof inputs) : inputs, work);
        const results = {output: output.address, lse: lse.address, lseLow: lseLow.address};
        attentionForward(work.place, problem, addresses, results, outside);
        return {output: output.tensor(), lse: lse.tensor(), lseLow: lseLow.tensor()};
      } finally {
        work.release();
      }
    },
    backward: (call, backend) => {
      const work = workplaceOf(backend, call.problem);
      try {
        return gradients(call, work);
      } finally {
        work.release();
      }
    },
    plan: (problem, backend) => {
      const tiling = tilingOf(problem);
      const {H, Hkv, Sq} = problem;
      const {kernel, blockRows, tileKeys, headsPerGroup} = tiling;
      const {offsets, bytes} = scratchOf(problem, tiling, false);
      const threads = threadsFor(problem);
      const isCopied = threads > 1 || !memoryInPlace(backend);
      const copies = isCopied ? copiedBytes(problem, tiling) : 0;
      // Offsets ascend: an array reaches to the next one.
      const onChip: OnChip = {};
      Object.entries(offsets).forEach(([name, at], n, all) => {
        onChip[name.slice(2).toLowerCase()] = (all[n + 1]?.[1] ?? bytes) - at;
      });
      return {
        kernel: `simd-${kernel}`,
        tiles: {queries: blockRows, keys: tileKeys},
        keyReadings: (H / Hkv / headsPerGroup) * Math.ceil((Sq * headsPerGroup) / blockRows),
        onChip,
        extraBytes: threads * bytes + partialBytes(problem, tiling) + copies,
      };
    },
  };
}

function gradients({problem, inputs, saved, wanted}: BackwardCall, work: Workplace): TensorInfo[] {
  const addresses = addressesOf(inputs, work);
  const read = {
    output: work.addressOf(saved.output),
    lse: work.addressOf(saved.lse),
    lseLow: work.addressOf(saved.lseLow),
    dOutput: work.addressOf(saved.dOutput),
    dLse: work.addressOf(saved.dLse),
  };
  if (wanted === 'kv') {
    const dk = work.result(inputs.k.shape);
    const dv = work.result(inputs.v.shape);
    attentionBackward(work.place, problem, addresses, read, {dk: dk.address, dv: dv.address});
    return [dk.tensor(), dv.tensor()];
  }
  const gradient = work.result(inputs[wanted]!.shape);
  const {address} = gradient;
  const target = {q: {dq: address}, bias: {dbias: address}, sinks: {dsinks: address}}[wanted];
  attentionBackward(work.place, problem, addresses, read, target);
  return [gradient.tensor()];
}

function addressesOf(inputs: AttentionInputs<TensorInfo>, work: Workplace): Addresses {
  return mapInputs(inputs, info => work.addressOf(info));
}
