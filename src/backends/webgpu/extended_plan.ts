/**
 * Plans of the kernels that need more than tfjs's own device has: subgroups, float16, subgroup matrices. The script for pages, where
 * only that device opens, goes without them (rollup.config.mjs).
 */
import {matrixArrays, matrixConstants, matrixTileRows, matrixTiles} from '../../../kernels/matrix_tiling';
import {decodeArrays, decodeTiles} from '../../../kernels/tiling';
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
  return withSplits(problem, state, {
    kernel: 'forwardMatrix',
    exchange: rows < subgroup ? 'subgroup' : 'single',
    constants: matrixConstants(tiles, D, Dv),
    tileRows,
    keys,
    blocks: 1,
    tiles: {
      queries: tileRows, keys, rows, threads: subgroups * subgroup, subgroups, matrixM: M, matrixN: N, matrixK: K,
    },
    onChip: matrixArrays(tiles, D, Dv),
  }); // prettier-ignore
};

export const halfVariant: Variant = (problem, state) => {
  if (problem.precision !== 'float16') return `'precision' is '${problem.precision}'`;
  return state.hasHalves ? tiled(problem, state, state.limits, true) : 'the device has no shader-f16';
};

export const fewQueriesVariant: Variant = (problem, state) =>
  rowCount(problem) > DECODE_ROWS
    ? `a key head has more than ${DECODE_ROWS} rows of queries`
    : decodeVariant(problem, state);
