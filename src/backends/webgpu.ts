/**
 * Backend `webgpu`: which kernel serves a call, by its sizes and the device's features and limits. `webgpu` chooses; the others
 * are the same kernels under their own names, for tests and benchmarks that force one.
 */
import type {KernelBackend} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../kernels/problem';
import type {WorkgroupLimits} from '../../kernels/tiling';
import {backwardTiles, runBackward} from './webgpu/backward';
import {partsOf} from './webgpu/call';
import {checkDevice, internalsOf, stateOf} from './webgpu/device';
import type {DeviceState} from './webgpu/device';
import {extraSize, runForward, seesHalves} from './webgpu/forward';
import type {ForwardPlan} from './webgpu/forward';
import {decodeVariant, halfVariant, matrixVariant, subgroupVariant} from './webgpu/extended_plan';
import {plainVariant, rowCount, withoutSubgroups} from './webgpu/lane_plan';
import type {Variant} from './webgpu/lane_plan';
import {bestVariant} from './webgpu/plan';
import {runSoftmax} from './webgpu/softmax';
import type {Implementation} from './implementation';

function implementation(
  name: string,
  variant: Variant,
  limitsOf: (state: DeviceState) => WorkgroupLimits,
): Implementation {
  const planOf = (problem: AttentionProblem, backend: KernelBackend): ForwardPlan => {
    const plan = variant(problem, checkDevice(internalsOf(backend)));
    if (typeof plan === 'string') throw new Error(`${name} cannot serve the call: ${plan}`);
    return plan;
  };
  return {
    name,
    unsupported: (problem, backend) => {
      const state = stateOf(internalsOf(backend));
      const parts = partsOf(problem, state.bindingLimit);
      if (!parts) return `one head of one batch exceeds the ${state.bindingLimit} bytes that a binding may span`;
      if (parts.length > 1 && problem.bias) return 'a bias with inputs that must be cut into parts';
      const plan = variant(problem, state);
      if (typeof plan === 'string') return plan;
      const backward = backwardTiles(problem, limitsOf(state));
      return backward ? null : 'not even one key of the backward pass fits the device’s workgroup memory';
    },
    forward: (call, backend) => runForward(internalsOf(backend), call, planOf(call.problem, backend)),
    backward: (call, backend) => {
      const state = checkDevice(internalsOf(backend));
      const seenAsHalves = seesHalves(planOf(call.problem, backend), call.problem);
      return runBackward(internalsOf(backend), call, backwardTiles(call.problem, limitsOf(state))!, seenAsHalves);
    },
    onlineSoftmax: (logits, backend) => {
      checkDevice(internalsOf(backend));
      return runSoftmax(internalsOf(backend), logits);
    },
    plan: (problem, backend) => {
      const {
        tiles,
        tileRows,
        onChip,
        splits,
        convertedBytes = 0,
        variant: kernel,
        passedOver,
      } = planOf(problem, backend);
      const keyReadings = Math.ceil(rowCount(problem) / tileRows);
      const extraBytes = 4 * extraSize(problem, splits) + convertedBytes;
      return {kernel, tiles: {...tiles, splits}, keyReadings, onChip, extraBytes, passedOver};
    },
  };
}

export const webgpu = implementation('webgpu', bestVariant, state => state.limits);

/** Kernels by name, in no order of preference. */
export const webgpuVariants: readonly Implementation[] = [
  implementation('webgpu-plain', plainVariant, state => withoutSubgroups(state.limits)),
  implementation('webgpu-subgroups', subgroupVariant, state => state.limits),
  implementation('webgpu-decode', decodeVariant, state => state.limits),
  implementation('webgpu-matrix', matrixVariant, state => state.limits),
  implementation('webgpu-half', halfVariant, state => state.limits),
];
