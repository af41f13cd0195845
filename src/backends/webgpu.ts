/**
 * Backend `webgpu`: which kernel serves a call, by its sizes and the device's features and limits. `webgpu` chooses; the others
 * are the same kernels under their own names, for tests and benchmarks that force one.
 */
import type {KernelBackend} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../kernels/problem';
import {decodeTiles, laneBytes, laneTiles} from '../../kernels/tiling';
import type {WorkgroupLimits} from '../../kernels/tiling';
import {runBackward} from './webgpu/backward';
import {partsOf} from './webgpu/call';
import {checkDevice, internalsOf, stateOf} from './webgpu/device';
import type {DeviceState} from './webgpu/device';
import {partialSize, runForward, tileRows} from './webgpu/forward';
import type {ForwardPlan} from './webgpu/forward';
import {runSoftmax} from './webgpu/softmax';
import type {Implementation} from './implementation';

/** Rows, heads of a group included, up to which the kernel for few queries serves. */
const DECODE_ROWS = 16;
/** Workgroups that keep a large GPU busy; fewer, and keys are split. */
const BUSY_WORKGROUPS = 256;
/** Keys that a split is at least worth. */
const KEYS_PER_SPLIT = 128;

type Variant = (problem: AttentionProblem, state: DeviceState) => ForwardPlan | null;

const withoutSubgroups = (limits: WorkgroupLimits): WorkgroupLimits => ({...limits, subgroup: 0});

function splitsOf(problem: AttentionProblem, state: DeviceState, plan: ForwardPlan): number {
  const {B, H, Hkv, Sq, Sk} = problem;
  if (partsOf(problem, state.bindingLimit)?.length !== 1) return 1;
  const items = B * Hkv * Math.ceil((Sq * (H / Hkv)) / tileRows(plan));
  const splits = Math.min(Math.ceil(BUSY_WORKGROUPS / items), Math.ceil(Sk / KEYS_PER_SPLIT));
  return 4 * partialSize(problem, splits) > state.bindingLimit ? 1 : splits;
}

function tiled(limits: WorkgroupLimits, problem: AttentionProblem, state: DeviceState): ForwardPlan | null {
  const tiles = laneTiles(problem.D, problem.Dv, 'forward', limits);
  if (!tiles) return null;
  const plan: ForwardPlan = {kernel: 'forward', tiles, splits: 1, rowGroups: 1};
  return {...plan, splits: splitsOf(problem, state, plan)};
}

const plainVariant: Variant = (problem, state) => tiled(withoutSubgroups(state.limits), problem, state);
const subgroupVariant: Variant = (problem, state) =>
  state.limits.subgroup > 0 ? tiled(state.limits, problem, state) : null;
const decodeVariant: Variant = (problem, state) => {
  const rowCount = problem.Sq * (problem.H / problem.Hkv);
  if (state.limits.subgroup === 0) return null;
  const tiles = decodeTiles(problem.D, problem.Dv, Math.min(DECODE_ROWS, rowCount), state.limits);
  if (!tiles) return null;
  const plan: ForwardPlan = {kernel: 'decode', tiles, splits: 1, rowGroups: tiles.rowGroups};
  return {...plan, splits: splitsOf(problem, state, plan)};
};
const bestVariant: Variant = (problem, state) => {
  const isDecode = problem.Sq * (problem.H / problem.Hkv) <= DECODE_ROWS;
  return (
    (isDecode ? decodeVariant(problem, state) : null) ?? subgroupVariant(problem, state) ?? plainVariant(problem, state)
  );
};

function implementation(
  name: string,
  variant: Variant,
  limitsOf: (state: DeviceState) => WorkgroupLimits,
): Implementation {
  const planOf = (problem: AttentionProblem, backend: KernelBackend): ForwardPlan =>
    variant(problem, checkDevice(internalsOf(backend)))!;
  return {
    name,
    unsupported: (problem, backend) => {
      const state = stateOf(internalsOf(backend));
      const parts = partsOf(problem, state.bindingLimit);
      if (!parts) return `one head of one batch exceeds the ${state.bindingLimit} bytes that a binding may span`;
      if (parts.length > 1 && problem.bias) return 'a bias with inputs that must be cut into parts';
      if (!variant(problem, state) || !laneTiles(problem.D, problem.Dv, 'backward', limitsOf(state))) {
        return 'the device has no subgroups, or its workgroup memory holds not even one key';
      }
      return null;
    },
    forward: (call, backend) => runForward(internalsOf(backend), call, planOf(call.problem, backend)),
    backward: (call, backend) => {
      const state = checkDevice(internalsOf(backend));
      return runBackward(
        internalsOf(backend),
        call,
        laneTiles(call.problem.D, call.problem.Dv, 'backward', limitsOf(state))!,
      );
    },
    onlineSoftmax: (logits, backend) => {
      checkDevice(internalsOf(backend));
      return runSoftmax(internalsOf(backend), logits);
    },
    plan: (problem, backend) => {
      const plan = planOf(problem, backend);
      const {lanes, rows, keys, threads} = plan.tiles;
      const {splits} = plan;
      const workgroup = laneBytes(plan.tiles, problem.D, problem.Dv);
      return {
        tiles: {queries: tileRows(plan), keys, lanes, rows, threads, splits, workgroupBytes: workgroup},
        extraBytes: 4 * partialSize(problem, splits),
      };
    },
  };
}

export const webgpu = implementation('webgpu', bestVariant, state => state.limits);

/** Kernels by name, in no order of preference. */
export const webgpuVariants: readonly Implementation[] = [
  implementation('webgpu-plain', plainVariant, state => withoutSubgroups(state.limits)),
  implementation('webgpu-subgroups', subgroupVariant, state => state.limits),
  implementation('webgpu-decode', decodeVariant, state => state.limits),
];
