/** Backend `webgl`: fused attention in fragment shaders, on WebGL 2 with float32 render targets. */
import type {KernelBackend} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../../kernels/problem';
import {planBlocks, planChunks, planParts, TILE_ROWS, widthReason} from '../../../kernels/webgl/plan';
import type {Implementation, Plan} from '../implementation';
import {backward} from './backward';
import {contextReason, deviceOf} from './device';
import {forward, sidesOfForward} from './forward';
import {onlineSoftmax} from './softmax';

export const fragments: Implementation = {
  name: 'fragments',
  unsupported: (problem, backend) => contextReason(backend) ?? sizeReason(problem, backend),
  forward,
  backward,
  onlineSoftmax,
  plan,
};

function sizeReason(problem: AttentionProblem, backend: KernelBackend): string | null {
  const {limits} = deviceOf(backend);
  return widthReason(sidesOfForward(problem, limits.lanes), limits);
}

const BYTES_PER_TEXEL = 16;

function plan(problem: AttentionProblem, backend: KernelBackend): Plan {
  const {limits} = deviceOf(backend);
  const sides = sidesOfForward(problem, limits.lanes);
  const blocks = planBlocks(sides, limits);
  const [part] = planParts(sides, limits);
  const [chunk] = planChunks(part, blocks, limits, problem.windowLeft >= 0 && problem.windowRight >= 0);
  const rows = Math.min(blocks.count, blocks.perSpan) * blocks.rows;
  const half = problem.precision === 'float16';
  const staged = half ? sides.texels / 2 : sides.texels; // of the widest row
  const scores = half ? limits.lanes / 2 + 2 : limits.lanes; // of a tile's group
  const texels =
    part.heads * part.tiles * TILE_ROWS * staged + // q
    2 * part.heads * rows * staged + // k and v, at most
    chunk.heads * chunk.tiles * blocks.groups * scores +
    2 * part.heads * part.tiles * sides.sumRows * limits.lanes; // sums with statistics, twice
  // A block of keys stays in the cache while all rows pass over it: `queries` would say that each tile reads it anew.
  const tiles = {rows: TILE_ROWS, keys: limits.lanes, block: blocks.rows};
  return {
    tiles,
    extraBytes: texels * BYTES_PER_TEXEL,
    scoresInMainMemory: true,
    passedOver: half ? [] : [{name: 'halves', reason: `'precision' is '${problem.precision}'`}],
  };
}
