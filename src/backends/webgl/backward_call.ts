/** What the gradients share: a call's tensors ready to be staged on either side, and the terms of its rows. */
import type {KernelBackend} from '@tensorflow/tfjs-core';
import {stridesOf} from '../../../kernels/problem';
import type {AttentionProblem} from '../../../kernels/problem';
import type {Part, Sides} from '../../../kernels/webgl/plan';
import rowTerms from '../../../kernels/webgl/row_terms.frag';
import tile from '../../../kernels/webgl/tile.frag';
import type {BackwardCall} from '../../op/kernels';
import {webglBackend} from './backend';
import {deviceOf} from './device';
import type {Texture} from './backend';
import {SCORES} from './forward';
import {Call, viewInputs} from './passes';
import type {HeadRange, Pass, Reads, RowOrder, StageSource, Step} from './passes';
import {viewTensor} from './textures';
import type {TensorTarget, TextureArray} from './textures';

export function sidesOfBackward(
  {B, H, Hkv, Sq, Sk, D, Dv}: AttentionProblem,
  tilesOfKeys: boolean,
  lanes: number,
): Sides {
  const widest = Math.ceil(Math.max(D, Dv) / lanes);
  return {
    heads: B * (tilesOfKeys ? Hkv : H),
    rows: tilesOfKeys ? Sk : Sq,
    otherRows: tilesOfKeys ? Sq : Sk,
    texels: widest * (lanes / 4),
    sumRows: widest,
  };
}

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
    this.dOutput = {...querySide, view: dOutput, width: Dv, strides: strides.output, factor: 1, isExact: true};
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
  stageTerms({count, lanes, firstRow, columns}: RowOrder, heads: HeadRange): TextureArray {
    const {H, Sq} = this.call.problem;
    const target = this.call.array(columns, heads.count, 1);
    this.call.draw(this.termsPass({}, 0), target.framebuffer, [0, 0, columns, heads.count], {
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

/** Of one side: what q·k is made of, then what dO·v is made of. */
export type Pair = readonly [StageSource, StageSource];

/** The staged rows that a step needs; the other side's are staged anew when a step leaves their span or heads. */
export class StagedBlocks {
  private readonly tiles: {uTile: Texture; uTileGradient: Texture};
  private readonly tileTerms: TextureArray | null;
  private others: {uOther: TextureArray; uOtherGradient: TextureArray; uRowTerms: TextureArray} | null = null;
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
      if (this.others) call.free(...Object.values(this.others).filter(array => array !== this.tileTerms));
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
