/**
 * What forward and backward share: a call's inputs as shaders read them, its programs, its scratch textures, and the walk over
 * parts, chunks and blocks (see kernels/webgl/plan.ts for these words).
 */
import type {TensorInfo} from '@tensorflow/tfjs-core';
import {dropThreshold} from '../../../kernels/cpu/philox';
import {glslHeader} from '../../../kernels/header';
import type {Constants} from '../../../kernels/header';
import {mapInputs} from '../../../kernels/problem';
import type {AttentionInputs, AttentionProblem, Strides} from '../../../kernels/problem';
import {blockSteps, keyHeads, planBlocks, planChunks, stagedTexels, TILE_ROWS} from '../../../kernels/webgl/plan';
import type {Blocks, BlockStep, Chunk, Part, Sides} from '../../../kernels/webgl/plan';
import common from '../../../kernels/webgl/common.glsl';
import options from '../../../kernels/webgl/options.glsl';
import philox from '../../../kernels/webgl/philox.glsl';
import places from '../../../kernels/webgl/places.glsl';
import stage from '../../../kernels/webgl/stage.frag';
import type {Texture, WebGLBackend as Backend} from './backend';
import type {Device, Program, Rectangle, Textures, UniformValues} from './device';
import {newTensor, viewTensor} from './textures';
import type {TensorTarget, TensorView, TextureArray} from './textures';

/** The option tensors that shaders read, by the name they have there: uBias, uBiasShape, LOAD_BIAS. */
const READ_AS = {
  bias: 'Bias', mask: 'Mask', alibiSlopes: 'Slopes', keyLengths: 'Lengths', queryOffset: 'Offsets',
  querySegments: 'QuerySegments', keySegments: 'KeySegments', sinks: 'Sinks',
} as const satisfies Partial<Record<keyof AttentionInputs<unknown>, string>>; // prettier-ignore

/** Options whose code is long enough to matter to compilers, once for each score of a tile. */
const LONG_CODE = ['bias', 'mask', 'alibiSlopes', 'keySegments'] as const;

type OptionName = keyof typeof READ_AS;

/** Tensors by their name in the shader. */
export type Reads = Record<string, TensorView>;

/** A program with the uniforms and textures that stay the same for a whole call. */
export interface Pass {
  program: Program;
  uniforms: UniformValues;
  textures: Textures;
}

/** One block of one chunk. */
export interface Step extends BlockStep {
  chunk: Chunk;
  /** Query head within its key head's group, for tiles of keys; else 0. */
  groupHead: number;
  /** The span that the block lies in, and the block's first column in the span's textures. */
  span: number;
  spanX: number;
  index: number;
  count: number;
}

export class Call {
  readonly blocks: Blocks;
  private readonly scratch = new Set<TextureArray>();

  constructor(
    readonly device: Device,
    readonly backend: Backend,
    readonly problem: AttentionProblem,
    readonly views: Partial<Record<keyof AttentionInputs<unknown>, TensorView>>,
    readonly sides: Sides,
    readonly tilesOfKeys: boolean,
    readonly half: boolean,
  ) {
    this.blocks = planBlocks(sides, device.limits);
  }

  staged(width: number): number {
    return stagedTexels(width, this.device.lanes, this.half);
  }

  /** Texels of a row that hold something. */
  texels(width: number): number {
    return Math.ceil(width / (this.half ? 8 : 4));
  }

  channelGroups(width: number): number {
    return Math.ceil(width / this.device.lanes);
  }

  /** A pass over places of the scores; `needs` names the option tensors that its shader reads. */
  pass(shader: string, constants: Constants, needs: readonly OptionName[], reads: Reads = {}): Pass {
    const {problem} = this;
    const present = needs.filter(name => this.views[name]);
    const has = (name: OptionName): number => Number(present.includes(name));
    const all: Constants = {
      ...constants,
      TILES_OF_KEYS: Number(this.tilesOfKeys),
      HAS_LENGTHS: has('keyLengths'),
      HAS_OFFSETS: has('queryOffset'),
      HAS_BIAS: has('bias'),
      HAS_MASK: has('mask'),
      ...this.placing('bias'),
      ...this.placing('mask'),
      HAS_ALIBI: has('alibiSlopes'),
      HAS_SEGMENTS: has('keySegments'),
      HAS_SINKS: has('sinks'),
      HAS_SOFTCAP: Number(problem.softcap > 0),
      HAS_DROPOUT: Number(problem.dropout > 0),
      ONE_COPY: Number(problem.softcap > 0 || problem.dropout > 0 || LONG_CODE.some(name => present.includes(name))),
    };
    const parts = [places, problem.dropout > 0 ? philox : '', options];
    const optional = Object.fromEntries(present.map(name => [READ_AS[name], this.views[name]!]));
    const pass = this.bare(shader, all, {...optional, ...reads}, parts);
    Object.assign(pass.uniforms, {
      uLanes: this.device.lanes,
      uSizes: [problem.H, problem.Sq, problem.Sk, 0],
      uWindow: [problem.windowLeft, problem.windowRight, problem.queryOffset],
      uSoftcap: problem.softcap,
      uBiasSizes: sizesOf(problem.bias),
      uMaskSizes: sizesOf(problem.mask),
      uSlopesPerBatch: problem.alibi === 'perBatchAndHead' ? problem.H : 0,
      uSeed: problem.seed,
      uDropBelow: dropThreshold(problem.dropout),
      uKeptScale: 1 / (1 - problem.dropout),
    });
    return pass;
  }

  /** See options.glsl. */
  private placing(name: 'bias' | 'mask'): Constants {
    const [, , rows = 0, columns = 0] = this.problem[name] ?? [];
    const view = this.views[name];
    const isInPlace = view?.packed && view.shape[2] === rows && view.shape[3] === columns;
    const prefix = READ_AS[name].toUpperCase();
    return {
      [`${prefix}_ROWS`]: Number(rows > 1),
      [`${prefix}_COLUMNS`]: Number(columns > 1),
      [`${prefix}_IN_PLACE`]: Number(isInPlace ?? false),
    };
  }

  /** A pass that knows nothing of the scores. */
  bare(shader: string, constants: Constants, reads: Reads, parts: readonly string[] = []): Pass {
    const header = glslHeader({LANES: this.device.lanes, HALF: Number(this.half), ...constants});
    const entries = Object.entries(reads);
    return {
      program: this.device.program(header + accessors(reads), [common, ...parts], shader),
      uniforms: Object.fromEntries(entries.map(([name, {shape}]) => [`u${name}Shape`, shape])),
      textures: Object.fromEntries(entries.map(([name, view]) => [`u${name}`, view])),
    };
  }

  draw(
    pass: Pass,
    target: WebGLFramebuffer | Texture,
    at: Rectangle,
    uniforms: UniformValues,
    textures: Textures = {},
  ): void {
    this.device.draw(pass.program, target, at, {...pass.uniforms, ...uniforms}, {...pass.textures, ...textures});
  }

  /** Draws the whole of a tensor. */
  fill(pass: Pass, target: TensorTarget, uniforms: UniformValues, textures: Textures = {}): void {
    this.draw(pass, target, [0, 0, target.width, target.height], uniforms, textures);
  }

  array(width: number, height: number, layers: number, uintLayers = 0): TextureArray {
    const {backend, device} = this;
    const array = device.arrays.acquire(backend, width, height, layers, uintLayers);
    this.scratch.add(array);
    return array;
  }

  tensor(shape: number[], packed: boolean): TensorTarget {
    return newTensor(this.device, this.backend, shape, packed);
  }

  /** Gives scratch textures back. */
  free(...arrays: TextureArray[]): void {
    for (const array of arrays) if (this.scratch.delete(array)) this.device.arrays.release(this.backend, array);
  }

  /** Gives every scratch texture back. */
  release(): void {
    this.free(...this.scratch);
  }

  /** Stages rows for tiles: all rows of the part. */
  stageTiles(source: StageSource, part: Part): TextureArray {
    return this.stageRows(source, this.tileOrder(part), {first: part.firstHead, step: 1, count: part.heads});
  }

  /** Stages rows for the other side of the tiles: those of one span of blocks. */
  stageSpan(source: StageSource, span: number, heads: HeadRange): TextureArray {
    return this.stageRows(source, this.spanOrder(span), heads);
  }

  tileOrder(part: Part): RowOrder {
    return {count: part.tiles, lanes: TILE_ROWS, firstRow: part.firstRow, columns: TILE_ROWS * part.tiles};
  }

  spanOrder(span: number): RowOrder {
    const {groups, rows, count, perSpan} = this.blocks;
    const blocks = Math.min(perSpan, count - span * perSpan);
    return {count: groups, lanes: this.device.lanes, firstRow: span * perSpan * rows, columns: blocks * rows};
  }

  private stageRows(source: StageSource, {count, lanes, firstRow, columns}: RowOrder, heads: HeadRange): TextureArray {
    const {view, rows, width, strides, headsPerBatch, factor, stopAtLengths, isExact} = source;
    const reads: Reads = {Source: view};
    const lengths = stopAtLengths ? this.views.keyLengths : undefined;
    if (lengths) reads.Lengths = lengths;
    const staged = this.staged(width);
    const rounded = this.problem.precision === 'float16' && !isExact;
    const pass = this.bare(
      stage,
      {WIDTH: width, TEXELS_STAGED: staged, HAS_LENGTHS: Number(Boolean(lengths)), ROUNDED: Number(rounded)},
      reads,
    );
    const height = heads.count * staged;
    const target = this.array(columns, height, Number(!this.half), Number(this.half));
    this.draw(pass, target.framebuffer, [0, 0, columns, height], {
      uStrides: [strides.batch, strides.head, strides.row],
      uRows: [count, lanes, firstRow, rows],
      uHeads: [heads.first, heads.step, headsPerBatch],
      uFactor: factor,
    });
    return target;
  }

  /** The steps of one chunk, in order. */
  steps(part: Part, chunk: Chunk): Step[] {
    const {problem, blocks, tilesOfKeys} = this;
    const groupHeads = tilesOfKeys ? problem.H / problem.Hkv : 1;
    return blockSteps(problem, tilesOfKeys, part, chunk, blocks, groupHeads).map((step, index, {length: count}) => {
      const span = Math.floor(step.block / blocks.perSpan);
      const spanX = (step.block - span * blocks.perSpan) * blocks.rows;
      return {...step, chunk, groupHead: Math.floor((index * groupHeads) / count), span, spanX, index, count};
    });
  }

  get isWindowed(): boolean {
    return this.problem.windowLeft >= 0 && this.problem.windowRight >= 0;
  }

  chunks(part: Part): Chunk[] {
    return planChunks(part, this.blocks, this.device.limits, this.isWindowed);
  }

  /** Heads of the other side that a part's tiles meet. */
  otherHeads(part: Part, groupHead: number): HeadRange {
    const group = this.problem.H / this.problem.Hkv;
    if (this.tilesOfKeys) return {first: part.firstHead * group + groupHead, step: group, count: part.heads};
    const [first, count] = keyHeads(part, group);
    return {first, step: 1, count};
  }

  /** Uniforms that say where a step is. */
  placeUniforms(part: Part, step: Step): UniformValues {
    const group = this.problem.H / this.problem.Hkv;
    return {
      uPart: [part.tiles, part.firstRow, part.firstHead, part.heads],
      uStarted: step.started,
      uChunk: [step.chunk.firstTile, step.chunk.firstHead, this.blocks.groups, step.block * this.blocks.rows],
      uQueryHead: this.tilesOfKeys ? [group, step.groupHead] : [1, 0],
      uOtherSide: this.tilesOfKeys
        ? [step.spanX, 1, part.firstHead]
        : [step.spanX, group, Math.floor(part.firstHead / group)],
    };
  }
}

/** See stage.frag. */
export interface RowOrder {
  count: number;
  lanes: number;
  firstRow: number;
  columns: number;
}

/** first, first + step, … */
export interface HeadRange {
  first: number;
  step: number;
  count: number;
}

/** A tensor whose rows get staged. */
export interface StageSource {
  view: TensorView;
  rows: number;
  width: number;
  strides: Strides;
  headsPerBatch: number;
  factor: number;
  /** Rows are keys: those at or after keyLengths count as 0. */
  stopAtLengths: boolean;
  /** Never rounded to halves. */
  isExact?: true;
}

/** The inputs as shaders read them; uploads what is on the host, so it must come before any draw. */
export function viewInputs(
  backend: Backend,
  inputs: AttentionInputs<TensorInfo>,
): Partial<Record<keyof typeof inputs, TensorView>> {
  return mapInputs(inputs, info => viewTensor(backend, info));
}

/** Matrices per batch and head of what broadcasts to the scores, 0 where it does; rows and columns of each. */
function sizesOf(shape: AttentionProblem['bias']): number[] {
  if (!shape) return [0, 0, 0, 0];
  const [batches, heads, rows, columns] = shape;
  return [batches > 1 ? heads : 0, heads > 1 ? 1 : 0, rows, columns];
}

/** What a shader reads tensors by: LOAD_BIAS(index) and LOAD_FOUR_BIAS(index) of uBias, however it is packed. */
export function accessors(reads: Reads): string {
  const lines = Object.entries(reads).map(([name, {packed}]) => {
    const macro = name.replace(/(?!^)[A-Z]/g, '_$&').toUpperCase();
    const kind = packed ? 'packed' : 'unpacked';
    const call = `${kind}(u${name}, u${name}Shape, i)\n`;
    return `uniform sampler2D u${name};\nuniform ivec4 u${name}Shape;\n#define LOAD_${macro}(i) load_${call}#define LOAD_FOUR_${macro}(i) load_four_${call}`;
  });
  return lines.join('');
}
