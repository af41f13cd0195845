/**
 * The bias's gradient on WebGL: blocks of the scores' gradient are summed at once over the axes that the bias is broadcast
 * along, and what is left is added or joined, as tfjs tensors, in a fixed order. Nothing of Sq × Sk is kept unless the bias is.
 */
import {getKernel} from '@tensorflow/tfjs-core';
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import {planChunks, planParts, TILE_ROWS} from '../../../kernels/webgl/plan';
import type {Chunk, Part} from '../../../kernels/webgl/plan';
import block from '../../../kernels/webgl/block.frag';
import type {BackwardCall} from '../../op/kernels';
import {Backward, StagedBlocks} from './backward_call';
import type {WebGLBackend} from './backend';
import {MODES, POSITION} from './forward';
import type {Pass, Step} from './passes';

export function gradientOfBias(call: BackwardCall, kernelBackend: KernelBackend): TensorInfo {
  return new BiasGradient(new Backward(call, kernelBackend, false)).make();
}

/** Runs one of tfjs's own kernels as they run one another: outside the engine, on tensors that nobody tracks. */
export function tfjsKernel(name: string, backend: WebGLBackend, inputs: object, attrs: object): TensorInfo {
  const {kernelFunc} = getKernel(name, 'webgl');
  return kernelFunc({inputs: inputs as never, attrs: attrs as never, backend}) as TensorInfo;
}

class BiasGradient {
  private readonly shape: readonly number[];
  private readonly derivatives: Pass;
  private readonly block: Pass;
  private readonly sumsRowsLater: boolean;

  constructor(private readonly backward: Backward) {
    const {call} = backward;
    this.shape = call.problem.bias!;
    const [, heads, rows, columns] = this.shape.map(n => n === 1);
    // A fragment that summed whole blocks alone would run long: the rows' sums are summed by tfjs then.
    this.sumsRowsLater = rows && columns;
    const fold = {FOLD_HEADS: Number(heads), FOLD_ROWS: Number(rows && !columns), FOLD_COLUMNS: Number(columns)};
    this.derivatives = backward.tilePass(MODES.derivatives, false);
    this.block = call.pass(block, fold, POSITION);
  }

  make(): TensorInfo {
    const {call} = this.backward;
    const {B, H} = call.problem;
    // One batch at a time: a piece then lies in one batch, whatever heads it has.
    const parts = planParts({...call.sides, heads: H}, call.device.limits);
    const ofBatch = (b: number): TensorInfo =>
      this.join(1, withSameHeads(parts), sameHeads =>
        this.join(2, sameHeads, part => this.ofPart({...part, firstHead: part.firstHead + b * H})),
      );
    return this.join(0, range(B), ofBatch);
  }

  private ofPart(part: Part): TensorInfo {
    const {backward} = this;
    const {call, q, k, v, dOutput} = backward;
    const {limits} = call.device;
    const staged = this.run(() => new StagedBlocks(backward, part, [q, dOutput], [k, v]));
    // A block is a tensor with one value per texel.
    const mostFragments = Math.floor(limits.textureSize ** 2 / (TILE_ROWS * limits.lanes));
    const chunks = planChunks(part, call.blocks, limits, call.isWindowed, mostFragments);
    try {
      return this.join(1, withSameHeads(chunks), sameHeads =>
        this.join(2, sameHeads, chunk => this.ofChunk(part, chunk, staged)),
      );
    } finally {
      call.release();
    }
  }

  private ofChunk(part: Part, chunk: Chunk, staged: StagedBlocks): TensorInfo {
    const {call} = this.backward;
    const {blocks, backend, problem} = call;
    const rows = Math.min(chunk.tiles * TILE_ROWS, part.rows - chunk.firstTile * TILE_ROWS);
    const steps = new Map(call.steps(part, chunk).map(step => [step.block, step]));
    const ofBlock = (block: number): TensorInfo => {
      const columns = Math.min(blocks.rows, problem.Sk - block * blocks.rows);
      const size = [1, chunk.heads, rows, columns];
      const step = steps.get(block);
      const shape = size.map((n, axis) => (this.shape[axis] === 1 ? 1 : n));
      return step
        ? this.ofStep(part, step, size, staged)
        : tfjsKernel('Fill', backend, {}, {shape, value: 0, dtype: 'float32'});
    };
    // Along a broadcast axis of keys, unseen blocks add nothing.
    return this.join(3, this.shape[3] === 1 ? [...steps.keys()] : range(blocks.count), ofBlock);
  }

  private ofStep(part: Part, step: Step, [, heads, rows, columns]: number[], staged: StagedBlocks): TensorInfo {
    const {call} = this.backward;
    const {blocks, device, backend} = call;
    const {chunk} = step;
    const [, h, i, j] = this.shape;
    const {info} = this.run(() => {
      const textures = staged.texturesOf(step);
      const weights = call.array(chunk.tiles, chunk.heads * blocks.groups, device.lanes);
      const target = call.tensor(
        [1, h === 1 ? 1 : heads, i === 1 && !this.sumsRowsLater ? 1 : rows, j === 1 ? 1 : columns],
        false,
      );
      const uniforms = {...call.placeUniforms(part, step), uTarget: [target.width, heads, rows, columns]};
      const at = [0, 0, chunk.tiles, chunk.heads * blocks.groups] as const;
      call.draw(this.derivatives, weights.framebuffer, at, uniforms, textures);
      call.fill(this.block, target, uniforms, {uTiles: weights});
      call.free(weights);
      device.finishStep();
      return target;
    });
    if (!this.sumsRowsLater) return info;
    const summed = tfjsKernel('Sum', backend, {x: info}, {axis: [2], keepDims: true});
    backend.disposeIntermediateTensorInfo(info);
    return summed;
  }

  /** Makes pieces one after the other; adds them along an axis of length 1 of the bias, joins them along a full one. */
  private join<T>(axis: number, pieces: readonly T[], make: (piece: T) => TensorInfo): TensorInfo {
    const {backend} = this.backward.call;
    if (pieces.length === 1) return make(pieces[0]);
    const dispose = (infos: TensorInfo[]): void => infos.forEach(info => backend.disposeIntermediateTensorInfo(info));
    if (this.shape[axis] > 1) {
      const infos = pieces.map(make);
      const joined = tfjsKernel('Concat', backend, infos, {axis});
      dispose(infos);
      return joined;
    }
    let total = make(pieces[0]);
    for (const piece of pieces.slice(1)) {
      const terms = [total, make(piece)];
      total = tfjsKernel('Add', backend, {a: terms[0], b: terms[1]}, {});
      dispose(terms);
    }
    return total;
  }

  private run<T>(draws: () => T): T {
    const {device, backend} = this.backward.call;
    return device.run(backend, 'FlashAttentionGrad', draws);
  }
}

const range = (count: number): number[] => Array.from({length: count}, (_, n) => n);

/** Neighbours with the same heads, in order. */
function withSameHeads<T extends {firstHead: number}>(ranges: readonly T[]): T[][] {
  const groups: T[][] = [];
  for (const item of ranges) {
    const last = groups.at(-1);
    if (last && last[0].firstHead === item.firstHead) last.push(item);
    else groups.push([item]);
  }
  return groups;
}
