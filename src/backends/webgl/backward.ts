/**
 * Backward pass on WebGL: scores are recomputed block by block from lse, and every gradient row gathers its own sum, so that
 * nothing is blended and the same bits come out every time. dq has tiles of queries, dk and dv tiles of keys.
 */
import {env, engine, sum, tidy} from '@tensorflow/tfjs-core';
import type {KernelBackend, Tensor, TensorInfo} from '@tensorflow/tfjs-core';
import {shapesOf, stridesOf} from '../../../kernels/problem';
import type {AttentionProblem} from '../../../kernels/problem';
import {planParts} from '../../../kernels/webgl/plan';
import type {Part, Sides} from '../../../kernels/webgl/plan';
import accumulate from '../../../kernels/webgl/accumulate.frag';
import emit from '../../../kernels/webgl/emit.frag';
import rowTerms from '../../../kernels/webgl/row_terms.frag';
import tile from '../../../kernels/webgl/tile.frag';
import type {BackwardCall} from '../../op/kernels';
import {gradientOfBias} from './bias_gradient';
import {deviceOf, webglBackend} from './device';
import type {Texture} from './device';
import {MODES, POSITION, SCORES} from './forward';
import {Call, viewInputs} from './passes';
import type {HeadRange, Pass, Reads, RowOrder, StageSource, Step} from './passes';
import {viewTensor} from './textures';
import type {TensorTarget, TextureArray} from './textures';

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

export function sidesOfBackward({B, H, Hkv, Sq, Sk, D, Dv}: AttentionProblem, tilesOfKeys: boolean, lanes: number): Sides {
  const widest = Math.ceil(Math.max(D, Dv) / lanes);
  return {
    heads: B * (tilesOfKeys ? Hkv : H),
    rows: tilesOfKeys ? Sk : Sq,
    otherRows: tilesOfKeys ? Sq : Sk,
    texels: widest * (lanes / 4),
    channelGroups: widest,
  };
}

/** A call's tensors, ready to be staged on either side, and the terms of its rows. */
export class Backward {
  readonly call: Call;
  readonly q: StageSource;
  readonly k: StageSource;
  readonly v: StageSource;
  readonly dOutput: StageSource;
  private readonly terms: Reads;

  constructor({problem, inputs, saved}: BackwardCall, kernelBackend: KernelBackend, tilesOfKeys: boolean) {
    const backend = webglBackend(kernelBackend);
    const device = deviceOf(kernelBackend);
    const views = viewInputs(backend, inputs);
    const sides = sidesOfBackward(problem, tilesOfKeys, device.lanes);
    this.call = new Call(device, backend, problem, views, sides, tilesOfKeys, false);
    const {H, Hkv, Sq, Sk, D, Dv, scale} = problem;
    const strides = stridesOf(problem);
    const querySide = {rows: Sq, headsPerBatch: H, stopAtLengths: false};
    const keySide = {rows: Sk, headsPerBatch: Hkv, factor: 1, stopAtLengths: true};
    const dOutput = viewTensor(backend, saved.dOutput);
    this.q = {...querySide, view: views.q!, width: D, strides: strides.q, factor: scale};
    this.k = {...keySide, view: views.k!, width: D, strides: strides.k};
    this.v = {...keySide, view: views.v!, width: Dv, strides: strides.v};
    this.dOutput = {...querySide, view: dOutput, width: Dv, strides: strides.output, factor: 1};
    this.terms = {
      Output: viewTensor(backend, saved.output),
      DOutput: dOutput,
      Lse: viewTensor(backend, saved.lse),
      LseLow: viewTensor(backend, saved.lseLow),
      DLse: viewTensor(backend, saved.dLse),
    };
  }

  tilePass(mode: number, withCap: boolean): Pass {
    const {call} = this;
    const {D, Dv} = call.problem;
    return call.pass(
      tile,
      {
        MODE: mode,
        WITH_CAP: Number(withCap),
        TEXELS: call.texels(D),
        TEXELS_STAGED: call.staged(D),
        VALUE_TEXELS: call.texels(Dv),
        VALUE_TEXELS_STAGED: call.staged(Dv),
      },
      SCORES,
    );
  }

  /** The terms of the queries of some heads, in the order of the rows that they belong to. */
  stageTerms({count, lanes, firstRow, columns}: RowOrder, heads: HeadRange): Texture {
    const {H, Sq} = this.call.problem;
    const target = this.call.staging(columns, heads.count);
    this.call.draw(this.termsPass({}, 0), target, [0, 0, columns, heads.count], {
      ...this.outputStrides(),
      uRows: [count, lanes, firstRow, Sq],
      uHeads: [heads.first, heads.step, H],
    });
    return target;
  }

  /** Each row's term of the sinks' gradient, [B, H, Sq]. */
  sinkTerms(sinks: Reads): TensorTarget {
    const {B, H, Sq} = this.call.problem;
    const target = this.call.tensor([B, H, Sq], false);
    const uniforms = {...this.outputStrides(), uRows: [1, 1, 0, Sq], uHeads: [0, 1, H], uWidth: target.width};
    this.call.fill(this.termsPass(sinks, 1), target, uniforms);
    return target;
  }

  private termsPass(reads: Reads, forSinks: number): Pass {
    return this.call.bare(rowTerms, {WIDTH: this.call.problem.Dv, FOR_SINKS: forSinks}, {...this.terms, ...reads});
  }

  private outputStrides() {
    const {batch, head, row} = stridesOf(this.call.problem).output;
    return {uStrides: [batch, head, row]};
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
  const dq: Gradient = {mode: MODES.derivatives, values: 0, width: problem.D, factor: problem.scale, shape: shapesOf(problem).q};
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

type Pair = readonly [StageSource, StageSource];

/** Sums gradients over all blocks. Each pair: what q·k is made of, then what dO·v is made of. */
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
        sums: call.pass(accumulate, {TEXELS_PER_GROUP: device.lanes / 4, ...groups}, POSITION),
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
      const uniforms = {...call.placeUniforms(part, step), uIsFirst: Number(step.index === 0)};
      const textures = stage.texturesOf(step);
      const values = [textures.uOther, textures.uOtherGradient];
      gradients.forEach(({width, values: which}, n) => {
        const groups = call.channelGroups(width);
        call.draw(passes[n].weights, weights.framebuffer, [0, 0, chunk.tiles, chunk.heads * blocks.groups], uniforms, textures);
        call.draw(
          passes[n].sums, to[n].framebuffer, [chunk.firstTile, chunk.firstHead * groups, chunk.tiles, chunk.heads * groups], uniforms,
          {uWeights: weights, uState: step.index === 0 ? call.noArray() : from[n], uValues: values[which]},
        ); // prettier-ignore
      });
      device.finishStep();
    }
  }
  return sums[0];
}

/** The staged rows that a step needs; the other side's are staged anew when a step leaves their span or heads. */
export class StagedBlocks {
  private readonly tiles: {uTile: Texture; uTileGradient: Texture};
  private readonly tileTerms: Texture | null;
  private others: {uOther: Texture; uOtherGradient: Texture; uRowTerms: Texture} | null = null;
  private staged = '';

  constructor(
    private readonly backward: Backward,
    private readonly part: Part,
    [tile, tileGradient]: Pair,
    private readonly otherSide: Pair,
  ) {
    const {call} = backward;
    this.tiles = {uTile: call.stageTiles(tile, part), uTileGradient: call.stageTiles(tileGradient, part)};
    const heads = {first: part.firstHead, step: 1, count: part.heads};
    this.tileTerms = call.tilesOfKeys ? null : backward.stageTerms(call.tileOrder(part), heads);
  }

  texturesOf({span, groupHead}: Step) {
    const {backward, part, otherSide} = this;
    const key = `${span} ${groupHead}`;
    if (this.staged !== key || !this.others) {
      const {call} = backward;
      const heads = call.otherHeads(part, groupHead);
      this.others = {
        uOther: call.stageSpan(otherSide[0], span, heads),
        uOtherGradient: call.stageSpan(otherSide[1], span, heads),
        uRowTerms: this.tileTerms ?? backward.stageTerms(call.spanOrder(span), heads),
      };
      this.staged = key;
    }
    return {...this.tiles, ...this.others};
  }
}

function gradientOfSinks(call: BackwardCall, kernelBackend: KernelBackend): TensorInfo {
  const backward = new Backward(call, kernelBackend, false);
  const {device, backend, views} = backward.call;
  const terms = device.run(backend, 'FlashAttentionGrad', () => backward.sinkTerms({Sinks: views.sinks!}));
  return tidy(() => sum(engine().makeTensorFromTensorInfo(terms.info) as Tensor, [0, 2]));
}
