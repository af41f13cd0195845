/** Forward pass on WebGL: per block of keys a pass of scores, one of statistics and one of sums, then the tensors are written. */
import {env} from '@tensorflow/tfjs-core';
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import {shapesOf, stridesOf} from '../../../kernels/problem';
import {planParts, SEGMENTS} from '../../../kernels/webgl/plan';
import type {Part, Sides} from '../../../kernels/webgl/plan';
import accumulate from '../../../kernels/webgl/accumulate.frag';
import emit from '../../../kernels/webgl/emit.frag';
import lse from '../../../kernels/webgl/lse.frag';
import merge from '../../../kernels/webgl/merge.frag';
import statistics from '../../../kernels/webgl/statistics.frag';
import statisticsCommon from '../../../kernels/webgl/statistics.glsl';
import tile from '../../../kernels/webgl/tile.frag';
import type {AttentionProblem} from '../../../kernels/problem';
import type {AttentionResult, ForwardCall} from '../../op/kernels';
import {webglBackend} from './backend';
import {deviceOf} from './device';
import type {Texture} from './backend';
import {Call, viewInputs} from './passes';
import type {Pass, StageSource} from './passes';
import type {TensorTarget, TextureArray} from './textures';

/** Layers of statistics: rowMax, rowSum, poison. */
const STATISTICS = 3;
/** tile.frag's modes. */
export const MODES = {scores: 0, probabilities: 1, derivatives: 2} as const;
/** The option tensors that decide which places of the scores are visible by position. */
export const POSITION = ['keyLengths', 'queryOffset'] as const;
/** Those that a score depends on. */
export const SCORES = [...POSITION, 'bias', 'mask', 'alibiSlopes', 'querySegments', 'keySegments'] as const;

export function sidesOfForward({B, H, Sq, Sk, D, Dv}: AttentionProblem, lanes: number): Sides {
  const texels = Math.ceil(Math.max(D, Dv) / lanes) * (lanes / 4);
  return {heads: B * H, rows: Sq, otherRows: Sk, texels, channelGroups: Math.max(SEGMENTS, Math.ceil(Dv / lanes))};
}

interface Passes {
  scores: Pass;
  statistics: Pass;
  merge: Pass;
  sums: Pass;
  output: Pass;
  lse: Pass;
  lseLow: Pass;
}

interface Sums {
  statistics: TextureArray;
  output: TextureArray;
}

export function forward({problem, inputs}: ForwardCall, kernelBackend: KernelBackend): AttentionResult<TensorInfo> {
  const backend = webglBackend(kernelBackend);
  const device = deviceOf(kernelBackend);
  const {B, H, Hkv, Sq, Sk, D, Dv} = problem;
  const half = problem.precision === 'float16' && device.lanes === 8;
  const sides = sidesOfForward(problem, device.lanes);
  const views = viewInputs(backend, inputs);
  const call = new Call(device, backend, problem, views, sides, false, half);
  const parts = planParts(sides, device.limits);
  const strides = stridesOf(problem);
  const q: StageSource = {
    view: views.q!, rows: Sq, width: D, strides: strides.q, headsPerBatch: H, factor: problem.scale, stopAtLengths: false,
  }; // prettier-ignore
  const keySide = {rows: Sk, headsPerBatch: Hkv, factor: 1, stopAtLengths: true};
  const k: StageSource = {...keySide, view: views.k!, width: D, strides: strides.k};
  const v: StageSource = {...keySide, view: views.v!, width: Dv, strides: strides.v};

  return device.run(backend, 'FlashAttention', () => {
    // A packed texel may belong to two parts; then each value needs a texel of its own.
    const packed = parts.length === 1 && env().getBool('WEBGL_PACK');
    const output = call.tensor(shapesOf(problem).output, packed);
    const lseTensor = call.tensor([B, H, Sq], false);
    const lseLow = call.tensor([B, H, Sq], false);
    const passes = makePasses(call, packed);
    try {
      for (const part of parts) {
        const sums = forwardPart(call, passes, part, q, k, v);
        emitPart(call, passes, part, sums, output, lseTensor, lseLow);
        call.release();
      }
    } finally {
      call.release();
    }
    return {output: output.info, lse: lseTensor.info, lseLow: lseLow.info};
  });
}

function makePasses(call: Call, packed: boolean): Passes {
  const {D, Dv, layout} = call.problem;
  const value = {CHANNEL_GROUPS: call.channelGroups(Dv), VALUE_TEXELS_STAGED: call.staged(Dv)};
  const key = {TEXELS: call.texels(D), TEXELS_STAGED: call.staged(D)};
  return {
    scores: call.pass(tile, {MODE: MODES.scores, WITH_CAP: 0, ...key}, SCORES),
    statistics: call.pass(statisticsCommon + statistics, {SEGMENTS}, [...POSITION, 'sinks']),
    merge: call.bare(statisticsCommon + merge, {SEGMENTS}, {}),
    sums: call.pass(
      statisticsCommon + accumulate,
      {FORWARD: 1, SEGMENTS, TEXELS_PER_GROUP: call.half ? 1 : call.device.lanes / 4, ...value},
      POSITION,
    ),
    output: call.bare(
      emit,
      {FORWARD: 1, PACKED: Number(packed), ROWS_BEFORE_HEADS: Number(layout === 'BSHD'), ...value},
      {},
    ),
    lse: call.bare(lse, {LOW_PART: 0}, {}),
    lseLow: call.bare(lse, {LOW_PART: 1}, {}),
  };
}

function forwardPart(call: Call, passes: Passes, part: Part, q: StageSource, k: StageSource, v: StageSource): Sums {
  const {problem, blocks, device} = call;
  const channelGroups = call.channelGroups(problem.Dv);
  const newSums = (): Sums => ({
    statistics: call.array(part.tiles, part.heads * SEGMENTS, STATISTICS),
    output: call.array(part.tiles, part.heads * channelGroups, device.lanes),
  });
  const tiles = call.stageTiles(q, part);
  const sums: Sums[] = [newSums()];
  let span = -1;
  let keys: Texture | null = null;
  let values: Texture | null = null;
  for (const chunk of call.chunks(part)) {
    const scores = call.array(chunk.tiles, chunk.heads * blocks.groups, device.lanes);
    for (const step of call.steps(part, chunk)) {
      if (step.span !== span) {
        span = step.span;
        keys = call.stageSpan(k, span, call.otherHeads(part, 0));
        values = call.stageSpan(v, span, call.otherHeads(part, 0));
      }
      // The last step writes sums[0], whatever their number.
      if (step.count > 1) sums[1] ??= newSums();
      const to = sums[(step.count - 1 - step.index) % 2];
      const from = sums[(step.count - step.index) % 2];
      const uniforms = {...call.placeUniforms(part, step), uIsFirst: Number(step.index === 0)};
      const previous = (array: TextureArray): Texture => (step.index === 0 ? call.noArray() : array);
      call.draw(
        passes.scores, scores.framebuffer, [0, 0, chunk.tiles, chunk.heads * blocks.groups], uniforms, {uTile: tiles, uOther: keys!},
      ); // prettier-ignore
      call.draw(
        passes.statistics, to.statistics.framebuffer, [chunk.firstTile, chunk.firstHead * SEGMENTS, chunk.tiles, chunk.heads * SEGMENTS],
        uniforms, {uScores: scores, uState: previous(from?.statistics)},
      ); // prettier-ignore
      call.draw(
        passes.sums, to.output.framebuffer,
        [chunk.firstTile, chunk.firstHead * channelGroups, chunk.tiles, chunk.heads * channelGroups],
        uniforms, {uWeights: scores, uState: previous(from?.output), uStatistics: to.statistics, uStatisticsBefore: previous(from?.statistics), uValues: values!},
      ); // prettier-ignore
      device.finishStep();
    }
  }
  return sums[0];
}

function emitPart(
  call: Call,
  passes: Passes,
  part: Part,
  sums: Sums,
  output: TensorTarget,
  lseTensor: TensorTarget,
  lseLow: TensorTarget,
): void {
  const {H, Sq, Dv} = call.problem;
  const uSource = [part.firstRow, part.rows, part.firstHead, part.heads];
  const merged = call.array(part.tiles, part.heads, STATISTICS);
  call.draw(passes.merge, merged.framebuffer, [0, 0, part.tiles, part.heads], {}, {uStatistics: sums.statistics});
  const statistics = {uStatistics: merged};
  call.fill(
    passes.output,
    output,
    {uTarget: [output.width, H, Sq, Dv], uSource, uFactor: 1},
    {...statistics, uState: sums.output},
  );
  call.fill(passes.lse, lseTensor, {uTarget: [lseTensor.width, 1, Sq, 1], uSource}, statistics);
  call.fill(passes.lseLow, lseLow, {uTarget: [lseLow.width, 1, Sq, 1], uSource}, {...statistics, uLse: lseTensor});
}
