/**
 * Plans of the kernels that need more than tfjs's own device has: subgroups, float16, subgroup matrices. The script for pages, where
 * only that device opens, goes without them (rollup.config.mjs).
 */
import {
  conversionPays,
  convertedSize,
  matrixArrays,
  matrixConstants,
  matrixTileRows,
  matrixTiles,
} from '../../../kernels/matrix_tiling';
import type {MatrixTiles} from '../../../kernels/matrix_tiling';
import type {AttentionProblem} from '../../../kernels/problem';
import {decodeArrays, decodeTiles} from '../../../kernels/tiling';
import {partsOf} from './call';
import type {DeviceState} from './device';
import {TOO_WIDE, lanePlan, rowCount, tiled, withSplits} from './lane_plan';
import type {Variant} from './lane_plan';

/** Rows, heads of a group included, up to which the kernel for few queries serves. */
const DECODE_ROWS = 16;
const NO_SUBGROUPS = 'the device has no subgroups';

export const subgroupVariant: Variant = (problem, state) =>
  state.limits.subgroup > 0 ? tiled(problem, state, state.limits) : NO_SUBGROUPS;

export const decodeVariant: Variant = (problem, state) => {
  if (state.limits.subgroup === 0) return NO_SUBGROUPS;
  const tiles = decodeTiles(problem.D, problem.Dv, Math.min(DECODE_ROWS, rowCount(problem)), state.limits);
  if (!tiles) return TOO_WIDE;
  const plan = lanePlan(tiles, tiles.rowGroups * tiles.rows, decodeArrays(tiles, problem.Dv));
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
  const convertedBytes = convertedBytesOf(problem, tiles, state);
  return withSplits(problem, state, {
    kernel: 'forwardMatrix',
    exchange: rows < subgroup ? 'subgroup' : 'single',
    constants: matrixConstants(tiles, D, Dv, convertedBytes > 0),
    convertedBytes,
    tileRows,
    keys,
    blocks: 1,
    tiles: {
      queries: tileRows, keys, rows, threads: subgroups * subgroup, subgroups, matrixM: M, matrixN: N, matrixK: K,
    },
    onChip: matrixArrays(tiles, D, Dv),
  }); // prettier-ignore
};

/** Bytes of keys and values that become float16 once, before all else; 0 where each tile of queries converts its own. */
function convertedBytesOf(problem: AttentionProblem, tiles: MatrixTiles, state: DeviceState): number {
  const {B, H, Hkv, Sq, Sk, D, Dv, windowLeft, windowRight} = problem;
  // Eight halves are copied at a time; one binding more than all others have.
  if (
    Math.min(tiles.N, tiles.K) < 8 ||
    state.matrices.storageBuffers < 9 ||
    partsOf(problem, state.bindingLimit)?.length !== 1
  )
    return 0;
  const group = H / Hkv;
  const isBounded = windowLeft >= 0 && windowRight >= 0;
  const seen = isBounded ? Math.min(Sq, windowLeft + windowRight + 1 + matrixTileRows(tiles) / group) : Sq;
  const flops = 2 * B * H * Sq * Sk * (D + Dv);
  if (!(state.converts ?? conversionPays(tiles, Math.max(D, Dv), seen * group, flops))) return 0;
  const bytes = 16 * convertedSize(tiles, D, Dv, B * Hkv * Math.ceil(Sk / tiles.keys)).all;
  return bytes <= state.bindingLimit ? bytes : 0;
}

export const halfVariant: Variant = (problem, state) => {
  if (problem.precision !== 'float16') return `'precision' is '${problem.precision}'`;
  return state.hasHalves ? tiled(problem, state, state.limits, true) : 'the device has no shader-f16';
};

export const fewQueriesVariant: Variant = (problem, state) =>
  rowCount(problem) > DECODE_ROWS
    ? `a key head has more than ${DECODE_ROWS} rows of queries`
    : decodeVariant(problem, state);
