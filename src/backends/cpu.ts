/** Backend `cpu`: the plain loops of kernels/cpu on the backend's typed arrays. */
import type {DataId, KernelBackend, TensorInfo, TypedArray} from '@tensorflow/tfjs-core';
import {gradientOfBias, gradientOfQueries, gradientOfSinks, gradientsOfKeysAndValues} from '../../kernels/cpu/backward';
import {attentionForward, forwardTiles} from '../../kernels/cpu/forward';
import {onlineSoftmaxRows} from '../../kernels/cpu/online_softmax';
import {KEY_TILE, QUERY_TILE} from '../../kernels/cpu/scores';
import type {AttentionArrays} from '../../kernels/cpu/scores';
import {mapInputs, shapesOf} from '../../kernels/problem';
import type {AttentionInputs} from '../../kernels/problem';
import {bytesOf} from '../../kernels/tiling';
import type {OnChip} from '../../kernels/tiling';
import type {BackwardCall} from '../op/kernels';
import type {Implementation} from './implementation';

/** The part of tfjs's MathBackendCPU that is used here, so that its package is needed by no one's types. */
interface ArrayBackend {
  data: {get(dataId: DataId): {values: TypedArray}};
  makeTensorInfo(shape: number[], dtype: 'float32', values: Float32Array): TensorInfo;
}

export const loops: Implementation = {
  name: 'loops',
  unsupported: () => null,
  forward: ({problem, inputs}, backend) => {
    const {B, H, Sq} = problem;
    const {output, lse, lseLow} = attentionForward(problem, arraysOf(inputs, backend));
    return {
      output: make(backend, shapesOf(problem).output, output),
      lse: make(backend, [B, H, Sq], lse),
      lseLow: make(backend, [B, H, Sq], lseLow),
    };
  },
  backward: (call, backend) => gradients(call, backend),
  onlineSoftmax: (logits, backend) => {
    const [rows, classes] = logits.shape;
    return make(backend, [rows, classes], onlineSoftmaxRows(read(logits, backend), rows, classes));
  },
  plan: problem => {
    const {H, Hkv, Sq} = problem;
    const onChip: OnChip = {};
    for (const [name, array] of Object.entries(forwardTiles(problem))) if (array) onChip[name] = array.byteLength;
    const tiles = {queries: QUERY_TILE, keys: KEY_TILE};
    return {tiles, keyReadings: (H / Hkv) * Math.ceil(Sq / QUERY_TILE), onChip, extraBytes: bytesOf(onChip)};
  },
};

function gradients({problem, inputs, saved, wanted}: BackwardCall, backend: KernelBackend): TensorInfo[] {
  const arrays = arraysOf(inputs, backend);
  const kept = {
    output: read(saved.output, backend),
    lse: read(saved.lse, backend),
    lseLow: read(saved.lseLow, backend),
    dOutput: read(saved.dOutput, backend),
    dLse: read(saved.dLse, backend),
  };
  switch (wanted) {
    case 'q':
      return [make(backend, inputs.q.shape, gradientOfQueries(problem, arrays, kept))];
    case 'kv': {
      const {dk, dv} = gradientsOfKeysAndValues(problem, arrays, kept);
      return [make(backend, inputs.k.shape, dk), make(backend, inputs.v.shape, dv)];
    }
    case 'bias':
      return [make(backend, inputs.bias!.shape, gradientOfBias(problem, arrays, kept))];
    case 'sinks':
      return [make(backend, inputs.sinks!.shape, gradientOfSinks(problem, arrays, kept))];
  }
}

function arraysOf(inputs: AttentionInputs<TensorInfo>, backend: KernelBackend): AttentionArrays {
  return mapInputs(inputs, info => arrayOf(info, backend));
}

function arrayOf(info: TensorInfo, backend: KernelBackend): TypedArray {
  return (backend as unknown as ArrayBackend).data.get(info.dataId).values;
}

/** A float32 tensor's numbers. */
function read(info: TensorInfo, backend: KernelBackend): Float32Array {
  return arrayOf(info, backend) as Float32Array;
}

function make(backend: KernelBackend, shape: number[], values: Float32Array): TensorInfo {
  return (backend as unknown as ArrayBackend).makeTensorInfo(shape, 'float32', values);
}
