/**
 * The bias's gradient on WebGL: blocks of the scores' gradient become tfjs tensors, each is summed at once over the axes that
 * the bias is broadcast along, and what is left is added or joined in a fixed order. Nothing of Sq × Sk is kept unless the bias
 * itself is.
 */
import {add, concat, engine, sum, tidy, zeros} from '@tensorflow/tfjs-core';
import type {KernelBackend, Tensor, TensorInfo} from '@tensorflow/tfjs-core';
import {planChunks, planParts, TILE_ROWS} from '../../../kernels/webgl/plan';
import type {Chunk, Part} from '../../../kernels/webgl/plan';
import block from '../../../kernels/webgl/block.frag';
import type {BackwardCall} from '../../op/kernels';
import {Backward, StagedBlocks} from './backward';
import {MODES, POSITION} from './forward';
import type {Pass} from './passes';

interface Passes {
  derivatives: Pass;
  block: Pass;
}

export function gradientOfBias(call: BackwardCall, kernelBackend: KernelBackend): TensorInfo {
  const backward = new Backward(call, kernelBackend, false);
  const {device, problem, sides} = backward.call;
  const {B, H} = problem;
  const passes: Passes = {
    derivatives: backward.tilePass(MODES.derivatives, false),
    block: backward.call.pass(block, {}, POSITION),
  };
  // One batch at a time: a piece then lies in one batch, whatever heads it has.
  const parts = planParts({...sides, heads: H}, device.limits);
  const join = joiner(problem.bias!);
  const batch = (b: number): Tensor =>
    join(1, groupsOf(parts), sameHeads =>
      join(2, sameHeads, part => gradientOfPart(backward, passes, {...part, firstHead: part.firstHead + b * H}, join)),
    );
  try {
    return tidy(() => join(0, Array.from({length: B}, (_, b) => b), batch));
  } finally {
    backward.call.release();
  }
}

type Join = <T>(axis: number, pieces: readonly T[], make: (piece: T) => Tensor) => Tensor;

/** Makes pieces one after the other and adds them along an axis of length 1 of the bias, or joins them along a full one. */
function joiner(shape: readonly number[]): Join {
  return (axis, pieces, make) =>
    tidy(() => {
      if (shape[axis] > 1) return pieces.length === 1 ? make(pieces[0]) : concat(pieces.map(make), axis);
      let total = make(pieces[0]);
      for (const piece of pieces.slice(1)) {
        const before = total;
        total = tidy(() => add(before, make(piece)));
        before.dispose();
      }
      return total;
    });
}

function gradientOfPart(backward: Backward, passes: Passes, part: Part, join: Join): Tensor {
  const {call} = backward;
  const {q, k, v, dOutput} = backward;
  const {limits} = call.device;
  const run = <T>(draws: () => T): T => call.device.run(call.backend, 'FlashAttentionGrad', draws);
  const staged = run(() => new StagedBlocks(backward, part, [q, dOutput], [k, v]));
  // A block is a tensor with one value per texel.
  const mostFragments = Math.floor(limits.textureSize ** 2 / (TILE_ROWS * limits.lanes));
  const chunks = planChunks(part, call.blocks, limits, call.isWindowed, mostFragments);
  try {
    return join(1, groupsOf(chunks), sameHeads =>
      join(2, sameHeads, chunk => gradientOfChunk(backward, passes, part, chunk, staged, run, join)),
    );
  } finally {
    call.release();
  }
}

function gradientOfChunk(
  backward: Backward,
  passes: Passes,
  part: Part,
  chunk: Chunk,
  staged: StagedBlocks,
  run: <T>(draws: () => T) => T,
  join: Join,
): Tensor {
  const {call} = backward;
  const {blocks, problem, device} = call;
  const bias = problem.bias!;
  const rows = Math.min(chunk.tiles * TILE_ROWS, part.rows - chunk.firstTile * TILE_ROWS);
  const steps = call.steps(part, chunk);
  const columnsOf = (block: number): number => Math.min(blocks.rows, problem.Sk - block * blocks.rows);
  const seen = new Map(steps.map(step => [step.block, step]));
  const weights = call.array(chunk.tiles, chunk.heads * blocks.groups, device.lanes);
  const all = Array.from({length: blocks.count}, (_, block) => block);

  const piece = (block: number): Tensor => {
    const step = seen.get(block);
    const columns = columnsOf(block);
    if (!step) return zeros([1, chunk.heads, rows, columns].map((n, axis) => (bias[axis] === 1 ? 1 : n)));
    return tidy(() => {
      const target = run(() => {
        const tensor = call.tensor([1, chunk.heads, rows, columns], false);
        const uniforms = {...call.placeUniforms(part, step), uTarget: [tensor.width, 1, rows, columns]};
        const at = [0, 0, chunk.tiles, chunk.heads * blocks.groups] as const;
        call.draw(passes.derivatives, weights.framebuffer, at, uniforms, staged.texturesOf(step));
        call.fill(passes.block, tensor, uniforms, {uTiles: weights});
        device.finishStep();
        return tensor;
      });
      const values = engine().makeTensorFromTensorInfo(target.info) as Tensor;
      const axes = [0, 1, 2, 3].filter(axis => bias[axis] === 1);
      return axes.length > 0 ? sum(values, axes, true) : values;
    });
  };
  // Along a broadcast axis of keys, unseen blocks add nothing.
  return join(3, bias[3] === 1 ? steps.map(step => step.block) : all, piece);
}

/** Neighbours with the same heads, in order. */
function groupsOf<T extends {firstHead: number}>(ranges: readonly T[]): T[][] {
  const groups: T[][] = [];
  for (const range of ranges) {
    const last = groups.at(-1);
    if (last && last[0].firstHead === range.firstHead) last.push(range);
    else groups.push([range]);
  }
  return groups;
}
