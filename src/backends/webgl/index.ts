/** Backend `webgl`: fused attention in fragment shaders, on WebGL 2 with float32 render targets. */
import type {KernelBackend} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../../kernels/problem';
import {
  keyHeads,
  planBlocks,
  planChunks,
  planParts,
  stagedTexels,
  TILE_ROWS,
  widthReason,
} from '../../../kernels/webgl/plan';
import type {Implementation, Plan} from '../implementation';
import {backward} from './backward';
import {contextReason, deviceOf} from './device';
import {forward, GROUP_STATISTICS, sidesOfForward} from './forward';
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
  const {H, Hkv, D, Dv, precision, windowLeft, windowRight} = problem;
  const {lanes} = limits;
  // The first part, and its first chunk, is the largest.
  const [part] = planParts(sides, limits);
  const [chunk] = planChunks(part, blocks, limits, windowLeft >= 0 && windowRight >= 0);
  const half = precision === 'float16';
  const staged = (width: number): number => stagedTexels(width, lanes, half);
  const texels =
    part.heads * part.tiles * TILE_ROWS * staged(D) + // q
    keyHeads(part, H / Hkv)[1] * Math.min(blocks.count, blocks.perSpan) * blocks.rows * (staged(D) + staged(Dv)) +
    chunk.heads * chunk.tiles * blocks.groups * (half ? lanes / 2 + GROUP_STATISTICS : lanes) + // scores
    Math.min(blocks.count, 2) * part.heads * part.tiles * sides.sumRows * lanes;
  const tiles = {rows: TILE_ROWS, keys: lanes, block: blocks.rows};
  // Keys are read once: a block of them stays in the cache while all rows pass over it.
  return {
    tiles,
    extraBytes: texels * BYTES_PER_TEXEL,
    scoresInMainMemory: true,
    passedOver: half ? [] : [{name: 'halves', reason: `'precision' is '${precision}'`}],
  };
}
