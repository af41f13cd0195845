/**
 * Backward pass on WebGL: scores are recomputed block by block from lse, and every gradient row gathers its own sum, so that
 * nothing is blended and the same bits come out every time. dq has tiles of queries, dk and dv tiles of keys.
 */
import {env} from '@tensorflow/tfjs-core';
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import {shapesOf} from '../../../kernels/problem';
import {planParts} from '../../../kernels/webgl/plan';
import type {Part} from '../../../kernels/webgl/plan';
import accumulate from '../../../kernels/webgl/accumulate.frag';
import emit from '../../../kernels/webgl/emit.frag';
import type {BackwardCall} from '../../op/kernels';
import {Backward, StagedBlocks} from './backward_call';
import type {Pair} from './backward_call';
import {gradientOfBias, tfjsKernel} from './bias_gradient';
import {MODES, POSITION} from './forward';
import type {Pass} from './passes';
import type {TextureArray} from './textures';

export function backward(call: BackwardCall, backend: KernelBackend): TensorInfo[] {
  switch (call.wanted) {
    case 'q':
      return gradientOfQueries(call, backend);
    case 'kv':
      return gradientsOfKeysAndValues(call, backend);
    case 'bias':
      return [gradientOfBias(call, backend)];
    case 'sinks':
      return [gradientOfSinks(call, backend)];
  }
}

/** One gradient: what weighs the other side's rows, which of its two tensors they come from, and where the sums go. */
interface Gradient {
  mode: number;
  values: 0 | 1;
  width: number;
  factor: number;
  shape: number[];
}

function gradientOfQueries(call: BackwardCall, kernelBackend: KernelBackend): TensorInfo[] {
  const {problem} = call;
  const backward = new Backward(call, kernelBackend, false);
  const {q, k, v, dOutput} = backward;
  const dq: Gradient = {
    mode: MODES.derivatives,
    values: 0,
    width: problem.D,
    factor: problem.scale,
    shape: shapesOf(problem).q,
  };
  return gather(backward, [q, dOutput], [k, v], [dq]);
}

function gradientsOfKeysAndValues(call: BackwardCall, kernelBackend: KernelBackend): TensorInfo[] {
  const {problem} = call;
  const backward = new Backward(call, kernelBackend, true);
  const {q, k, v, dOutput} = backward;
  const shapes = shapesOf(problem);
  // q is staged with the scale in it, so that dk has it, too.
  const dk: Gradient = {mode: MODES.derivatives, values: 0, width: problem.D, factor: 1, shape: shapes.k};
  const dv: Gradient = {mode: MODES.probabilities, values: 1, width: problem.Dv, factor: 1, shape: shapes.v};
  return gather(backward, [k, v], [q, dOutput], [dk, dv]);
}

/** Sums gradients over all blocks. */
function gather(backward: Backward, tileSide: Pair, otherSide: Pair, gradients: Gradient[]): TensorInfo[] {
  const {call} = backward;
  const {device, sides, problem} = call;
  const parts = planParts(sides, device.limits);
  const {H, Hkv, layout} = problem;
  return device.run(call.backend, 'FlashAttentionGrad', () => {
    const packed = parts.length === 1 && env().getBool('WEBGL_PACK');
    const targets = gradients.map(({shape}) => call.tensor(shape, packed));
    const passes = gradients.map(({mode, width}) => {
      const groups = {CHANNEL_GROUPS: call.channelGroups(width), VALUE_TEXELS_STAGED: call.staged(width), FORWARD: 0};
      return {
        weights: backward.tilePass(mode, true),
        sums: call.pass(accumulate, groups, POSITION),
        emit: call.bare(emit, {...groups, PACKED: Number(packed), ROWS_BEFORE_HEADS: Number(layout === 'BSHD')}, {}),
      };
    });
    try {
      for (const part of parts) {
        const sums = gatherPart(backward, part, tileSide, otherSide, gradients, passes);
        gradients.forEach(({width, factor}, n) => {
          const uniforms = {
            uTarget: [targets[n].width, call.tilesOfKeys ? Hkv : H, sides.rows, width],
            uSource: [part.firstRow, part.rows, part.firstHead, part.heads],
            uFactor: factor,
          };
          call.fill(passes[n].emit, targets[n], uniforms, {uState: sums[n]});
        });
        call.release();
      }
    } finally {
      call.release();
    }
    return targets.map(({info}) => info);
  });
}

function gatherPart(
  backward: Backward,
  part: Part,
  tileSide: Pair,
  otherSide: Pair,
  gradients: Gradient[],
  passes: Array<{weights: Pass; sums: Pass}>,
): TextureArray[] {
  const {call} = backward;
  const {blocks, device} = call;
  const newSums = (): TextureArray[] =>
    gradients.map(({width}) => call.array(part.tiles, part.heads * call.channelGroups(width), device.lanes));
  const sums: TextureArray[][] = [newSums()];
  const stage = new StagedBlocks(backward, part, tileSide, otherSide);
  for (const chunk of call.chunks(part)) {
    const weights = call.array(chunk.tiles, chunk.heads * blocks.groups, device.lanes);
    for (const step of call.steps(part, chunk)) {
      // The last step writes sums[0], whatever their number.
      if (step.count > 1) sums[1] ??= newSums();
      const to = sums[(step.count - 1 - step.index) % 2];
      const from = sums[(step.count - step.index) % 2];
      const uniforms = call.placeUniforms(part, step);
      const [drawnFrom, drawnTo] = step.drawn;
      const drawnTiles = drawnTo - drawnFrom;
      const textures = stage.texturesOf(step);
      const values = [textures.uOther, textures.uOtherGradient];
      gradients.forEach(({width, values: which}, n) => {
        const groups = call.channelGroups(width);
        call.draw(
          passes[n].weights,
          weights.framebuffer,
          [drawnFrom - chunk.firstTile, 0, drawnTiles, chunk.heads * blocks.groups],
          uniforms,
          textures,
        );
        call.draw(
          passes[n].sums, to[n].framebuffer, [drawnFrom, chunk.firstHead * groups, drawnTiles, chunk.heads * groups], uniforms,
          {uWeights: weights, uState: step.index === 0 ? weights : from[n], uValues: values[which]},
        ); // prettier-ignore
      });
      device.finishStep();
    }
    call.free(weights);
  }
  return sums[0];
}

function gradientOfSinks(call: BackwardCall, kernelBackend: KernelBackend): TensorInfo {
  const backward = new Backward(call, kernelBackend, false);
  const {device, backend, views} = backward.call;
  const terms = device.run(backend, 'FlashAttentionGrad', () => backward.sinkTerms({Sinks: views.sinks!}));
  const summed = tfjsKernel('Sum', backend, {x: terms.info}, {axis: [0, 2], keepDims: false});
  backend.disposeIntermediateTensorInfo(terms.info);
  return summed;
}
