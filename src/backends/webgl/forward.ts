/** Forward pass on WebGL: per block of keys a pass of scores, one of statistics and one of sums, then the tensors are written. */
import {env} from '@tensorflow/tfjs-core';
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import {shapesOf, stridesOf} from '../../../kernels/problem';
import {planParts} from '../../../kernels/webgl/plan';
import type {Part, Sides} from '../../../kernels/webgl/plan';
import accumulate from '../../../kernels/webgl/accumulate.frag';
import emit from '../../../kernels/webgl/emit.frag';
import lse from '../../../kernels/webgl/lse.frag';
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
import type {TextureArray} from './textures';

const [SCORES_SHADER, STATISTICS_SHADER, SUMS_SHADER] = [tile, statistics, accumulate].map(
  shader => `${statisticsCommon}\n${shader}`,
);
/** What tile.frag writes beside halves: each group's maximum and sum. */
export const GROUP_STATISTICS = 2;
/** tile.frag's modes. */
export const MODES = {scores: 0, probabilities: 1, derivatives: 2} as const;
/** The option tensors that decide which places of the scores are visible by position. */
export const POSITION = ['keyLengths', 'queryOffset'] as const;
/** Those that a score depends on. */
export const SCORES = [...POSITION, 'bias', 'mask', 'alibiSlopes', 'querySegments', 'keySegments'] as const;

export function sidesOfForward({B, H, Sq, Sk, D, Dv}: AttentionProblem, lanes: number): Sides {
  const texels = Math.ceil(Math.max(D, Dv) / lanes) * (lanes / 4);
  return {heads: B * H, rows: Sq, otherRows: Sk, texels, sumRows: Math.ceil(Dv / lanes) + 1};
}

interface Passes {
  scores: Pass;
  statistics: Pass;
  sums: Pass;
  output: Pass;
  lse: Pass;
  lseLow: Pass;
}

export function forward(
  {problem, inputs, ignoresLse}: ForwardCall,
  kernelBackend: KernelBackend,
): AttentionResult<TensorInfo> {
  const backend = webglBackend(kernelBackend);
  const device = deviceOf(kernelBackend);
  const {B, H, Hkv, Sq, Sk, D, Dv} = problem;
  const sides = sidesOfForward(problem, device.lanes);
  const views = viewInputs(backend, inputs);
  const call = new Call(device, backend, problem, views, sides, false, problem.precision === 'float16');
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
        const uState = forwardPart(call, passes, part, q, k, v);
        const uSource = [part.firstRow, part.rows, part.firstHead, part.heads];
        const size = [H, Sq, Dv] as const;
        call.fill(passes.output, output, {uTarget: [output.width, ...size], uSource, uFactor: 1}, {uState});
        if (!ignoresLse) {
          const uniforms = {uTarget: [lseTensor.width, ...size], uSource};
          call.fill(passes.lse, lseTensor, uniforms, {uState});
          call.fill(passes.lseLow, lseLow, uniforms, {uState, uLse: lseTensor});
        }
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
  const sums = {FORWARD: 1, ...value};
  return {
    scores: call.pass(SCORES_SHADER, {MODE: MODES.scores, WITH_CAP: 0, ...key}, SCORES),
    statistics: call.pass(STATISTICS_SHADER, sums, [...POSITION, 'sinks']),
    sums: call.pass(SUMS_SHADER, sums, [...POSITION, 'sinks']),
    output: call.bare(
      emit,
      {FORWARD: 1, PACKED: Number(packed), ROWS_BEFORE_HEADS: Number(layout === 'BSHD'), ...value},
      {},
    ),
    lse: call.bare(lse, {LOW_PART: 0, ...value}, {}),
    lseLow: call.bare(lse, {LOW_PART: 1, ...value}, {}),
  };
}

function forwardPart(call: Call, passes: Passes, part: Part, q: StageSource, k: StageSource, v: StageSource): Texture {
  const {blocks, device, sides, half} = call;
  const newSums = (): TextureArray => call.array(part.tiles, part.heads * sides.sumRows, device.lanes);
  const channelGroups = sides.sumRows - 1;
  const tiles = call.stageTiles(q, part);
  const sums = [newSums()];
  let span = -1;
  let staged: {keys: TextureArray; values: TextureArray} | null = null;
  for (const chunk of call.chunks(part)) {
    const scoreRows = chunk.heads * blocks.groups;
    const scores = half
      ? call.array(chunk.tiles, scoreRows, GROUP_STATISTICS, device.lanes / 2)
      : call.array(chunk.tiles, scoreRows, device.lanes);
    for (const step of call.steps(part, chunk)) {
      if (step.span !== span) {
        span = step.span;
        if (staged) call.free(staged.keys, staged.values);
        const heads = call.otherHeads(part, 0);
        staged = {keys: call.stageSpan(k, span, heads), values: call.stageSpan(v, span, heads)};
      }
      // The last step writes sums[0], whatever their number.
      if (step.count > 1) sums[1] ??= newSums();
      const {framebuffer} = sums[(step.count - 1 - step.index) % 2];
      // The first step reads none; what is bound then must not be the target.
      const uState = step.index === 0 ? scores : sums[(step.count - step.index) % 2];
      const uniforms = call.placeUniforms(part, step);
      const [x, end] = step.drawn;
      const width = end - x;
      call.draw(
        passes.scores, scores.framebuffer, [x - chunk.firstTile, 0, width, scoreRows], uniforms, {uTile: tiles, uOther: staged!.keys},
      ); // prettier-ignore
      call.draw(
        passes.statistics, framebuffer, [x, part.heads * channelGroups + chunk.firstHead, width, chunk.heads], uniforms,
        {uScores: scores, uGroups: scores, uState},
      ); // prettier-ignore
      call.draw(
        passes.sums, framebuffer, [x, chunk.firstHead * channelGroups, width, chunk.heads * channelGroups], uniforms,
        {uWeights: scores.uints ?? scores, uGroups: scores, uValues: staged!.values, uState},
      ); // prettier-ignore
      device.finishStep();
    }
    call.free(scores);
  }
  return sums[0];
}
