/** Runs one call of attention on arrays that stand in a module's memory: fields, scratch, items, and lse at the end. */
import {dropThreshold} from '../cpu/philox';
import {scoresStrides, stridesOf} from '../problem';
import type {AttentionInputs, AttentionProblem} from '../problem';
import {FIELD_BYTES, writeFields} from './fields';
import type {Fields} from './fields';
import type {KernelName} from './module';
import {KEY_BLOCK, scratchOf, tilingOf} from './tiling';

/** Where kernels run: a memory with room for temporaries, and something that runs a kernel's items there. */
export interface Place {
  memory: WebAssembly.Memory;
  threads: number;
  allocate(bytes: number): number;
  /** Runs kernel(problem, scratch + n · scratchBytes, item) for every item; n is the thread. */
  run(kernel: KernelName, items: number, problem: number, scratch: number, scratchBytes: number): void;
}

/** Byte addresses of a call's arrays. */
export type Addresses = AttentionInputs<number>;

export interface ResultAddresses {
  output: number;
  lse: number;
  lseLow: number;
}

export function attentionForward(
  place: Place,
  problem: AttentionProblem,
  inputs: Addresses,
  result: ResultAddresses,
): void {
  const {B, H, Hkv, Sq, Dv} = problem;
  const tiling = tilingOf(problem);
  const {offsets, bytes} = scratchOf(problem, tiling, false);
  const at = place.allocate(FIELD_BYTES);
  const scratch = place.allocate(place.threads * bytes);
  const isDecode = tiling.kernel === 'decode';
  // What each split leaves per row: its sums of values, maximum and sum of weights.
  const partial = isDecode ? place.allocate(4 * B * H * Sq * tiling.splits * (Dv + 2)) : 0;
  const fields = {...problemFields(problem, inputs), ...tilingFields(problem), ...offsets, ...result, partial};
  writeFields(place.memory, at, fields);
  if (isDecode) {
    place.run('decode', B * Hkv * tiling.splits, at, scratch, bytes);
    place.run('merge', B * Hkv, at, scratch, bytes);
  } else {
    const blocks = Math.ceil((Sq * tiling.headsPerGroup) / tiling.blockRows);
    place.run('forward', B * (H / tiling.headsPerGroup) * blocks, at, scratch, bytes);
  }
  finishLse(place.memory, result, B * H * Sq);
}

/** What the backward pass reads besides the inputs. */
export interface SavedAddresses extends ResultAddresses {
  dOutput: number;
  dLse: number;
}

/** Byte addresses of the gradients to write: those of one group. */
export type GradientAddresses = {dq: number} | {dk: number; dv: number} | {dbias: number} | {dsinks: number};

export function attentionBackward(
  place: Place,
  problem: AttentionProblem,
  inputs: Addresses,
  saved: SavedAddresses,
  gradients: GradientAddresses,
): void {
  const {B, H, Hkv, Sq, Sk} = problem;
  const tiling = tilingOf(problem);
  const {offsets, bytes} = scratchOf(problem, tiling, true);
  const at = place.allocate(FIELD_BYTES);
  const delta = place.allocate(4 * B * H * Sq);
  const scratch = place.allocate(place.threads * bytes);
  const run = (kernel: KernelName, items: number): void => place.run(kernel, items, at, scratch, bytes);
  const fields = {
    ...problemFields(problem, inputs),
    ...tilingFields(problem),
    ...offsets,
    ...saved,
    ...gradients,
    delta,
  };
  writeFields(place.memory, at, fields);

  run('delta', B * H);
  const keyBlocks = Math.ceil(Sk / KEY_BLOCK);
  if ('dq' in gradients) {
    run('gradQueries', B * (H / tiling.headsPerGroup) * Math.ceil((Sq * tiling.headsPerGroup) / tiling.blockRows));
  } else if ('dk' in gradients) {
    run('gradKeys', B * Hkv * keyBlocks);
  } else if ('dbias' in gradients) {
    const [b, h, , j] = problem.bias!;
    run('gradBias', b * h * (j === 1 ? 1 : keyBlocks));
  } else {
    sinkGradients(place.memory, problem, inputs.sinks!, saved, delta, gradients.dsinks);
  }
}

/** dsink = −Σ exp(sink − lse − lseLow) · (delta − dLse) over the rows of a head. */
function sinkGradients(
  memory: WebAssembly.Memory,
  {B, H, Sq}: AttentionProblem,
  sinksAt: number,
  saved: SavedAddresses,
  deltaAt: number,
  dsinksAt: number,
): void {
  const rows = (address: number): Float32Array => new Float32Array(memory.buffer, address, B * H * Sq);
  const [lse, lseLow, delta] = [saved.lse, saved.lseLow, deltaAt].map(rows);
  const sinks = new Float32Array(memory.buffer, sinksAt, H);
  const dsinks = new Float32Array(memory.buffer, dsinksAt, H);
  for (let h = 0; h < H; h++) {
    let sum = 0;
    for (let b = 0; b < B; b++) {
      for (let row = (b * H + h) * Sq, end = row + Sq; row < end; row++) {
        // A row that sees nothing, with a sink of −∞: no probability to give.
        if (lse[row] !== -Infinity) sum -= Math.exp(sinks[h] - lse[row] - lseLow[row]) * delta[row];
      }
    }
    dsinks[h] = sum;
  }
}

/** lse and lseLow, where the kernel left each row's maximum and sum. */
function finishLse(memory: WebAssembly.Memory, {lse, lseLow}: ResultAddresses, rows: number): void {
  const maxima = new Float32Array(memory.buffer, lse, rows);
  const sums = new Float32Array(memory.buffer, lseLow, rows);
  for (let row = 0; row < rows; row++) {
    const max = maxima[row];
    const log = Math.log(sums[row]);
    maxima[row] = max + log;
    const low = max - maxima[row] + log;
    sums[row] = Number.isFinite(maxima[row]) ? low : 0;
  }
}

function tilingFields(problem: AttentionProblem): Fields {
  const {kernel: _, packKeys, ...sizes} = tilingOf(problem);
  return {...sizes, packKeys: packKeys ? 1 : 0};
}

/** Everything of the problem and its inputs that the module reads. */
function problemFields(problem: AttentionProblem, inputs: Addresses): Fields {
  const {B, H, Hkv, Sq, Sk, D, Dv, scale, softcap, windowLeft, windowRight, queryOffset, dropout, seed} = problem;
  const {q, k, v, output} = stridesOf(problem);
  const bias = problem.bias && scoresStrides(problem.bias);
  const mask = problem.mask && scoresStrides(problem.mask);
  return {
    q: inputs.q,
    k: inputs.k,
    v: inputs.v,
    bias: inputs.bias,
    mask: inputs.mask,
    alibiSlopes: inputs.alibiSlopes,
    keyLengths: inputs.keyLengths,
    queryOffsets: inputs.queryOffset,
    querySegments: inputs.querySegments,
    keySegments: inputs.keySegments,
    sinks: inputs.sinks,
    ...{B, H, Hkv, Sq, Sk, D, Dv},
    ...{qBatch: 4 * q.batch, qHead: 4 * q.head, qRow: 4 * q.row},
    ...{kBatch: 4 * k.batch, kHead: 4 * k.head, kRow: 4 * k.row},
    ...{vBatch: 4 * v.batch, vHead: 4 * v.head, vRow: 4 * v.row},
    ...{outputBatch: 4 * output.batch, outputHead: 4 * output.head, outputRow: 4 * output.row},
    ...(bias && {biasBatch: 4 * bias.batch, biasHead: 4 * bias.head, biasRow: 4 * bias.row, biasKey: 4 * bias.key}),
    ...(problem.bias && {
      biasB: problem.bias[0],
      biasH: problem.bias[1],
      biasSq: problem.bias[2],
      biasSk: problem.bias[3],
    }),
    ...(mask && {maskBatch: mask.batch, maskHead: mask.head, maskRow: mask.row, maskKey: mask.key}),
    ...{scale, softcap, windowLeft, windowRight, queryOffset, seed},
    alibiPerBatch: problem.alibi === 'perBatchAndHead' ? 1 : 0,
    dropBelow: dropThreshold(dropout),
    keep: 1 / (1 - dropout),
  };
}
