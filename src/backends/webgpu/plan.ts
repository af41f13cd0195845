/** Which of WebGPU's forward kernels serve a call, and with which tiles: each answers with a plan or the reason why not. */
import {matrixBytes, matrixConstants, matrixTileRows, matrixTiles} from '../../../kernels/matrix_tiling';
import type {AttentionProblem} from '../../../kernels/problem';
import {decodeTiles, laneBytes, laneTiles} from '../../../kernels/tiling';
import type {LaneTiles, WorkgroupLimits} from '../../../kernels/tiling';
import {partsOf} from './call';
import type {DeviceState} from './device';
import {NO_HALVES, NO_SUBGROUPS} from './extensions';
import {partialSize} from './forward';
import type {ForwardPlan} from './forward';

/** Rows, heads of a group included, up to which the kernel for few queries serves. */
const DECODE_ROWS = 16;
/** Workgroups that keep a large GPU busy; fewer, and keys are split. */
const BUSY_WORKGROUPS = 256;
/** Keys that a split is at least worth. */
const KEYS_PER_SPLIT = 128;

/** A string is the reason, in one clause, why the kernel cannot serve the call. */
export type Variant = (problem: AttentionProblem, state: DeviceState) => ForwardPlan | string;

const TOO_WIDE = 'not even one key fits the device’s workgroup memory';

export const withoutSubgroups = (limits: WorkgroupLimits): WorkgroupLimits => ({...limits, subgroup: 0});

const rowCount = ({Sq, H, Hkv}: AttentionProblem): number => Sq * (H / Hkv);

/** The plan with its keys split where there are few workgroups. */
function withSplits(problem: AttentionProblem, state: DeviceState, plan: Omit<ForwardPlan, 'splits'>): ForwardPlan {
  const {B, Hkv, Sk} = problem;
  if (partsOf(problem, state.bindingLimit)?.length !== 1) return {...plan, splits: 1};
  const items = B * Hkv * Math.ceil(rowCount(problem) / plan.tileRows);
  const splits = Math.min(Math.ceil(BUSY_WORKGROUPS / items), Math.ceil(Sk / KEYS_PER_SPLIT));
  return {...plan, splits: 4 * partialSize(problem, splits) > state.bindingLimit ? 1 : splits};
}

/** What all kernels share whose invocations share rows. */
function lanePlan({D, Dv}: AttentionProblem, tiles: LaneTiles, tileRows: number) {
  const {lanes, rows, threads, keys, block, exchange} = tiles;
  return {
    exchange,
    constants: {LANES: lanes, ROWS: rows, THREADS: threads, KEYS: keys, BLOCK: block},
    tileRows,
    keys,
    blocks: keys / block,
    tiles: {queries: tileRows, keys, lanes, rows, threads, workgroupBytes: laneBytes(tiles, D, Dv)},
  };
}

function tiled(problem: AttentionProblem, state: DeviceState, limits: WorkgroupLimits, half = false) {
  const tiles = laneTiles(problem.D, problem.Dv, 'forward', limits, half);
  if (!tiles) return TOO_WIDE;
  const shared = lanePlan(problem, tiles, (tiles.threads / tiles.lanes) * tiles.rows);
  return withSplits(problem, state, {kernel: half ? 'forwardHalf' : 'forward', ...shared});
}

export const plainVariant: Variant = (problem, state) => tiled(problem, state, withoutSubgroups(state.limits));

export const subgroupVariant: Variant = (problem, state) =>
  state.limits.subgroup > 0 ? tiled(problem, state, state.limits) : NO_SUBGROUPS;

export const decodeVariant: Variant = (problem, state) => {
  if (state.limits.subgroup === 0) return NO_SUBGROUPS;
  const tiles = decodeTiles(problem.D, problem.Dv, Math.min(DECODE_ROWS, rowCount(problem)), state.limits);
  if (!tiles) return TOO_WIDE;
  const plan = lanePlan(problem, tiles, tiles.rowGroups * tiles.rows);
  return withSplits(problem, state, {
    kernel: 'decode',
    ...plan,
    constants: {...plan.constants, ROW_GROUPS: tiles.rowGroups},
  });
};

export const matrixVariant: Variant = (problem, state) => {
  const {D, Dv, precision} = problem;
  if (precision === 'float32') return `'precision' is 'float32'`;
  const tiles = matrixTiles(D, Dv, precision === 'float16x2', state.matrices, state.matrixChoice);
  if (typeof tiles === 'string') return tiles;
  const {M, N, K, keys, rows, subgroups, subgroup} = tiles;
  const tileRows = matrixTileRows(tiles);
  return withSplits(problem, state, {
    kernel: 'forwardMatrix',
    exchange: rows < subgroup ? 'subgroup' : 'single',
    constants: matrixConstants(tiles, D, Dv),
    tileRows,
    keys,
    blocks: 1,
    tiles: {
      queries: tileRows, keys, rows, threads: subgroups * subgroup, subgroups, matrixM: M, matrixN: N, matrixK: K,
      workgroupBytes: matrixBytes(tiles, D, Dv),
    },
  }); // prettier-ignore
};

export const halfVariant: Variant = (problem, state) => {
  if (problem.precision !== 'float16') return `'precision' is '${problem.precision}'`;
  return state.hasHalves ? tiled(problem, state, state.limits, true) : NO_HALVES;
};

const fewQueriesVariant: Variant = (problem, state) =>
  rowCount(problem) > DECODE_ROWS
    ? `a key head has more than ${DECODE_ROWS} rows of queries`
    : decodeVariant(problem, state);

/**
 * The kernels in order of preference. A kernel that turns out slow or wrong on some device is switched off by its line. Half the
 * bytes in workgroup memory do not pay what converting them costs where subgroups share float32 rows (test/benchmark/README.md).
 */
const PREFERRED: ReadonlyArray<readonly [name: string, variant: Variant]> = [
  ['webgpu-decode', fewQueriesVariant],
  ['webgpu-matrix', matrixVariant],
  ['webgpu-subgroups', subgroupVariant],
  ['webgpu-half', halfVariant],
  ['webgpu-plain', plainVariant],
];

/** The first kernel that serves the call; those before it, with their reasons, go into its plan. */
export const bestVariant: Variant = (problem, state) => {
  const passedOver: Array<{name: string; reason: string}> = [];
  for (const [name, variant] of PREFERRED) {
    const plan = variant(problem, state);
    if (typeof plan !== 'string') return {...plan, passedOver};
    passedOver.push({name, reason: plan});
  }
  return passedOver[passedOver.length - 1].reason;
};
