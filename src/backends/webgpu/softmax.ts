/** Softmax over the last axis in two reads, on WebGPU. */
import type {TensorInfo} from '@tensorflow/tfjs-core';
import {floats, optionalBindings} from './call';
import type {WebGPUInternals} from './device';
import {dispatch} from './dispatch';

const THREADS = 128;
const NO_OPTIONS = {
  HAS_BIAS: false, HAS_MASK: false, HAS_ALIBI: false, HAS_LENGTHS: false, HAS_OFFSETS: false, HAS_SEGMENTS: false,
  HAS_SINKS: false, HAS_SOFTCAP: false, HAS_DROPOUT: false, SEEN_AS_HALVES: false,
}; // prettier-ignore

export function runSoftmax(backend: WebGPUInternals, logits: TensorInfo): TensorInfo {
  const [rows, classes] = logits.shape;
  const result = backend.makeTensorInfo([rows, classes], 'float32');
  const lanes = Math.min(THREADS, 2 ** Math.ceil(Math.log2(Math.max(1, classes / 4))));
  dispatch(backend, {
    kernel: 'softmax',
    exchange: 'single',
    constants: {...NO_OPTIONS, D: 1, DV: 1, LANES: lanes, ROWS: 1, THREADS, KEYS: 1, BLOCK: 1},
    bindings: [floats('logits', logits), floats('result', result, 'read_write'), ...optionalBindings()],
    uniforms: {Sq: rows, Sk: classes},
    items: Math.ceil((rows * lanes) / THREADS),
  });
  return result;
}
