/** Plans of the kernels whose invocations share rows: their tiles, and whether keys are split where there are few workgroups. */
import type {AttentionProblem} from '../../../kernels/problem';
import {laneArrays, laneTiles} from '../../../kernels/tiling';
import type {LaneTiles, OnChip, WorkgroupLimits} from '../../../kernels/tiling';
import {partsOf} from './call';
import type {DeviceState} from './device';
import {partialSize} from './forward';
import type {ForwardPlan} from './forward';

/** Workgroups that keep a large GPU busy; fewer, and keys are split. */
const BUSY_WORKGROUPS = 256;
/** Keys that a split is at least worth. */
const KEYS_PER_SPLIT = 128;

/** A string is the reason, in one clause, why the kernel cannot serve the call. */
export type Variant = (problem: AttentionProblem, state: DeviceState) => ForwardPlan | string;

export const TOO_WIDE = 'not even one key fits the device’s workgroup memory';

export const withoutSubgroups = (limits: WorkgroupLimits): WorkgroupLimits => ({...limits, subgroup: 0});

/** Query rows of a key head. */
export const rowCount = ({Sq, H, Hkv}: AttentionProblem): number => Sq * (H / Hkv);

/** The plan with its keys split where there are few workgroups. */
export function withSplits(
  problem: AttentionProblem,
  state: DeviceState,
  plan: Omit<ForwardPlan, 'splits'>,
): ForwardPlan {
  const {B, Hkv, Sk} = problem;
  if (partsOf(problem, state.bindingLimit)?.length !== 1) return {...plan, splits: 1};
  const items = B * Hkv * Math.ceil(rowCount(problem) / plan.tileRows);
  const splits = Math.min(Math.ceil(BUSY_WORKGROUPS / items), Math.ceil(Sk / KEYS_PER_SPLIT));
  return {...plan, splits: 4 * partialSize(problem, splits) > state.bindingLimit ? 1 : splits};
}

/** What all kernels share whose invocations share rows. */
export function lanePlan(tiles: LaneTiles, tileRows: number, onChip: OnChip) {
  const {lanes, rows, threads, keys, block, exchange} = tiles;
  return {
    exchange,
    constants: {LANES: lanes, ROWS: rows, THREADS: threads, KEYS: keys, BLOCK: block},
    tileRows,
    keys,
    blocks: keys / block,
    tiles: {queries: tileRows, keys, lanes, rows, threads},
    onChip,
  };
}

export function tiled(problem: AttentionProblem, state: DeviceState, limits: WorkgroupLimits, half = false) {
  const {D, Dv} = problem;
  const tiles = laneTiles(D, Dv, 'forward', limits, half);
  if (!tiles) return TOO_WIDE;
  const shared = lanePlan(tiles, (tiles.threads / tiles.lanes) * tiles.rows, laneArrays(tiles, D, Dv));
  return withSplits(problem, state, {kernel: half ? 'forwardHalf' : 'forward', ...shared});
}

export const plainVariant: Variant = (problem, state) => tiled(problem, state, withoutSubgroups(state.limits));
