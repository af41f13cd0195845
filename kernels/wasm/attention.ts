/** Runs one call of attention on arrays that stand in a module's memory: fields, scratch, items, and lse at the end. */
import {dropThreshold} from '../cpu/philox';
import {namedStrides, scoresStrides, stridesOf} from '../problem';
import type {AttentionInputs, AttentionProblem} from '../problem';
import {FIELD_BYTES, writeFields} from './fields';
import type {Fields} from './fields';
import type {KernelName} from './module';
import {KEY_BLOCK, partialBytes, scratchOf, tilingOf} from './tiling';

/** Where kernels run: a memory with room for temporaries, and something that runs a kernel's items there. */
export interface Place {
  memory: WebAssembly.Memory;
  threads: number;
  allocate(bytes: number): number;
  /** Runs kernel(problem, scratch + n · scratchBytes, item) for every item; n is the thread. */
  run(kernel: KernelName, items: number, problem: number, scratch: number, scratchBytes: number): void;
  /** Runs one item; where there is one thread. */
  runItem?(kernel: KernelName, item: number, problem: number, scratch: number): void;
}

/** Byte addresses of a call's arrays. */
export type Addresses = AttentionInputs<number>;

export interface ResultAddresses {
  output: number;
  lse: number;
  lseLow: number;
}

/** k and v where they stand outside of the module's memory. */
export interface OutsideKeys {
  k: Float32Array;
  v: Float32Array;
}

/** `outside`: of a decode call on one thread, in place of the addresses of k and v. */
export function attentionForward(
  place: Place,
  problem: AttentionProblem,
  inputs: Addresses,
  result: ResultAddresses,
  outside?: OutsideKeys,
): void {
  const {B, H, Hkv, Sq} = problem;
  const tiling = tilingOf(problem);
  const {offsets, bytes} = scratchOf(problem, tiling, false);
  const at = place.allocate(FIELD_BYTES);
  const scratch = place.allocate(place.threads * bytes);
  const isDecode = tiling.kernel === 'decode';
  const partial = isDecode ? place.allocate(partialBytes(problem, tiling)) : 0;
  const fields = {...problemFields(problem, inputs), ...tilingFields(problem), ...offsets, ...result, partial};
  writeFields(place.memory, at, fields);
  if (isDecode) {
    if (outside) decodeOutside(place, problem, inputs, outside, at, scratch);
    else place.run('decode', B * Hkv * tiling.splits, at, scratch, bytes);
    place.run('merge', B * Hkv, at, scratch, bytes);
  } else {
    const blocks = Math.ceil((Sq * tiling.headsPerGroup) / tiling.blockRows);
    place.run('forward', B * (H / tiling.headsPerGroup) * blocks, at, scratch, bytes);
  }
  finishLse(place.memory, result, B * H * Sq);
}

/**
 * Copies one split of K and V at a time into the same room, small enough for a cache, where `decode` reads it: a copy of all
 * would pass through main memory twice more.
 */
function decodeOutside(
  place: Place,
  problem: AttentionProblem,
  {keyLengths}: Addresses,
  outside: OutsideKeys,
  at: number,
  scratch: number,
): void {
  const {B, Hkv, Sk, D} = problem;
  const {splits, splitKeys} = tilingOf(problem);
  const strides = stridesOf(problem);
  // The heads' rows of a key may lie side by side.
  const heads = strides.k.row === D ? 1 : Hkv;
  const rooms = (['k', 'v'] as const).map(name => ({name, address: place.allocate(4 * splitKeys * strides[name].row)}));
  for (let b = 0; b < B; b++) {
    const limit = keyLengths ? Math.min(Sk, new Int32Array(place.memory.buffer, keyLengths, B)[b]) : Sk;
    for (let head = 0; head < Hkv; head += heads) {
      for (let split = 0; split < splits; split++) {
        const first = split * splitKeys;
        const keys = Math.max(0, Math.min(splitKeys, limit - first));
        for (const {name, address} of rooms) {
          const {batch, head: step, row} = strides[name];
          const from = b * batch + head * step + first * row;
          const values = outside[name].subarray(from, from + keys * row);
          new Float32Array(place.memory.buffer, address, values.length).set(values);
          // Where all of K would begin, were this part of it in its place.
          writeFields(place.memory, at, {[name]: address - 4 * from}, [name]);
        }
        for (let h = head; h < head + heads; h++) place.runItem!('decode', (b * Hkv + h) * splits + split, at, scratch);
      }
    }
  }
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
function problemFields(problem: AttentionProblem, {queryOffset: queryOffsets, ...inputs}: Addresses): Fields {
  const {bias, mask, alibi, dropout, ...numbers} = problem;
  const {q, k, v, output} = stridesOf(problem);
  const [biasB, biasH, biasSq, biasSk] = bias ?? [];
  return {
    ...numbers,
    ...inputs,
    queryOffsets,
    ...namedStrides('q', q, 4),
    ...namedStrides('k', k, 4),
    ...namedStrides('v', v, 4),
    ...namedStrides('output', output, 4),
    ...(bias && namedStrides('bias', scoresStrides(bias), 4)),
    ...(mask && namedStrides('mask', scoresStrides(mask), 1)),
    ...{biasB, biasH, biasSq, biasSk},
    alibiPerBatch: alibi === 'perBatchAndHead' ? 1 : 0,
    dropBelow: dropThreshold(dropout),
    keep: 1 / (1 - dropout),
  };
}
