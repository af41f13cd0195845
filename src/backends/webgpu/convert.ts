/** Keys and values as float16 in a buffer of their own, made once before the kernel on subgroup matrices reads them many times. */
import type {TensorInfo} from '@tensorflow/tfjs-core';
import type {Constants} from '../../../kernels/header';
import type {AttentionInputs, AttentionProblem} from '../../../kernels/problem';
import type {Uniforms} from '../../../kernels/webgpu/uniforms';
import {optionalBindings, partOf} from './call';
import type {WebGPUInternals} from './device';
import {dispatch} from './dispatch';
import type {Bound} from './dispatch';

const THREADS = 128;

/**
 * @param bytes of the plan; where there are none nothing is converted.
 * @param constants and uniforms are the forward kernel's.
 * @returns what else the forward kernel reads: its tensor is the caller's to dispose of.
 */
export function convertKeys(
  backend: WebGPUInternals,
  problem: AttentionProblem,
  {k, v}: AttentionInputs<TensorInfo>,
  bytes: number | undefined,
  constants: Constants,
  uniforms: Uniforms,
): Bound[] {
  if (!bytes) return [];
  const {B, Hkv, Sk} = problem;
  const tensor = backend.makeTensorInfo([bytes / 4], 'float32');
  const tiles: Bound = {name: 'tiles', kind: 'KeyTile', access: 'read', tensor};
  const {row} = partOf(problem, {batchStart: 0, batches: B, headStart: 0, heads: Hkv});
  dispatch(backend, {
    kernel: 'convert',
    exchange: 'single',
    constants: {...constants, LANES: 1, ROWS: 1, BLOCK: 1, THREADS},
    bindings: [row('k', 'k', k), row('v', 'v', v), ...optionalBindings(), {...tiles, access: 'read_write'}],
    uniforms,
    items: B * Hkv * Math.ceil(Sk / Number(constants.KEYS)),
  });
  return [tiles];
}
