/**
 * One query's attention over 16 keys in tiles, the three ways of kernels/cpu/online_softmax.ts, as steps to walk through: a step is
 * one tile of one sweep. Accesses to slow memory are those that the functions themselves make, results are theirs.
 */
import {
  NOTHING_SEEN, onePassAttention, onlineStep, threePassSoftmax, twoPassSoftmax,
} from '../../../kernels/cpu/online_softmax'; // prettier-ignore
import type {BeginPass, Vector} from '../../../kernels/cpu/online_softmax';

export const TILE = 4;
export const TILES = 4;
const N = TILE * TILES;
const Dv = 3;

/** The maximum grows in the second and in the third tile. */
export const SCORES = Float32Array.of(
  0.9,
  1.6,
  0.2,
  -0.6,
  0.4,
  2.3,
  1.1,
  -0.2,
  0.7,
  1.3,
  3.1,
  0.1,
  -0.4,
  1.9,
  2.6,
  0.8,
);
export const VALUES = Float32Array.from({length: N * Dv}, (_, i) => Math.round(100 * Math.sin(1 + i * 1.7)) / 100);

export type WayName = 'safe' | 'online' | 'flash';

/** What is known after a step; null where this way does not keep it, or not yet. */
export interface Step {
  sweep: number;
  tile: number;
  rowMax: number | null;
  rowSum: number | null;
  /** What sum and output so far were multiplied by, exp(old maximum − new maximum). */
  rescale: number | null;
  output: number[] | null;
  /** Numbers read from and written to slow memory so far. */
  reads: number;
  writes: number;
}

export interface Walk {
  title: string;
  sweeps: string[];
  steps: Step[];
  /** The result of the way's own function. */
  result: Float32Array;
}

/** What happens to running values in each kind of sweep, tile by tile. */
type Running = Omit<Step, 'sweep' | 'tile' | 'reads' | 'writes'>;
type Advance = (before: Running, from: number, to: number) => Running;

const NONE: Running = {rowMax: null, rowSum: null, rescale: null, output: null};

const ADVANCES: Record<string, Advance> = {
  scores: () => NONE,
  max: ({rowMax}, from, to) => ({...NONE, rowMax: Math.max(rowMax ?? -Infinity, ...SCORES.subarray(from, to))}),
  sum: (before, from, to) => {
    const added = SCORES.subarray(from, to).reduce((sum, x) => sum + Math.exp(x - before.rowMax!), 0);
    return {...before, rowSum: (before.rowSum ?? 0) + added};
  },
  'max and sum': (before, from, to) => online(before, from, to),
  normalise: before => ({...before, rescale: null}),
  output: (before, from, to) => {
    const p = (j: number): number => Math.exp(SCORES[j] - before.rowMax!) / before.rowSum!;
    return {...before, output: withValues(before.output ?? zeros(), p, from, to)};
  },
  'scores, max, sum and output': (before, from, to) => {
    const {output} = before;
    const after = online(before, from, to);
    const rescaled = (output ?? zeros()).map(value => value * after.rescale!);
    return {...after, output: withValues(rescaled, j => Math.exp(SCORES[j] - after.rowMax!), from, to)};
  },
};

function online({rowMax, rowSum}: Running, from: number, to: number): Running {
  let state = rowMax === null ? NOTHING_SEEN : {rowMax, rowSum: rowSum!};
  for (let j = from; j < to; j++) state = onlineStep(state, SCORES[j]);
  const rescale = rowMax === null ? 0 : Math.exp(rowMax - state.rowMax);
  return {...NONE, rowMax: state.rowMax, rowSum: state.rowSum, rescale};
}

function withValues(output: number[], p: (j: number) => number, from: number, to: number): number[] {
  const sums = [...output];
  for (let j = from; j < to; j++) for (let c = 0; c < Dv; c++) sums[c] += p(j) * VALUES[j * Dv + c];
  return sums;
}

const zeros = (): number[] => new Array<number>(Dv).fill(0);

/** Slow memory that notes in which sweep and at which tile it was used. */
class NotedMemory {
  readonly sweeps: string[] = [];
  /** Accesses by sweep and tile. */
  readonly counts: Array<Array<{reads: number; writes: number}>> = [];
  private tile = 0;

  readonly beginPass: BeginPass = name => {
    this.sweeps.push(name);
    this.counts.push(Array.from({length: TILES}, () => ({reads: 0, writes: 0})));
    this.tile = 0;
  };

  /** @param perKey numbers a key has; 0 where they do not belong to keys, and count for the tile that is being worked on. */
  vector(values: Float32Array, perKey: number): Vector {
    const note = (i: number): {reads: number; writes: number} => {
      if (perKey > 0) this.tile = Math.floor(i / (perKey * TILE));
      return this.counts[this.counts.length - 1][this.tile];
    };
    return {
      length: values.length,
      read: i => {
        note(i).reads++;
        return values[i];
      },
      write: (i, value) => {
        note(i).writes++;
        values[i] = value;
      },
    };
  }
}

type Softmax = (x: Vector, y: Vector, beginPass: BeginPass) => void;

/** q·k, a softmax, and the product with v: three functions, the scores and probabilities stored between them. */
function unfused(softmax: Softmax, memory: NotedMemory): Float32Array {
  const [scores, probabilities, output] = [new Float32Array(N), new Float32Array(N), new Float32Array(Dv)];
  const [keys, x, p] = [memory.vector(SCORES, 1), memory.vector(scores, 1), memory.vector(probabilities, 1)];
  const values = memory.vector(VALUES, Dv);
  memory.beginPass('scores'); // the query is 1, and a key its own score
  for (let j = 0; j < N; j++) x.write(j, keys.read(j));
  softmax(x, p, memory.beginPass);
  memory.beginPass('output');
  const sums = zeros();
  for (let j = 0; j < N; j++) {
    const probability = p.read(j);
    for (let c = 0; c < Dv; c++) sums[c] += probability * values.read(j * Dv + c);
  }
  const result = memory.vector(output, 0);
  sums.forEach((sum, c) => result.write(c, sum));
  return output;
}

function fused(memory: NotedMemory): Float32Array {
  const output = new Float32Array(Dv);
  // The query is the number 1 and stays in a register.
  const q: Vector = {length: 1, read: () => 1, write: () => undefined};
  const [keys, values] = [memory.vector(SCORES, 1), memory.vector(VALUES, Dv)];
  onePassAttention({q, keys, values, output: memory.vector(output, 0)}, TILE, memory.beginPass);
  return output;
}

const WAYS: Record<WayName, {title: string; run: (memory: NotedMemory) => Float32Array}> = {
  safe: {title: 'safe softmax', run: memory => unfused(threePassSoftmax, memory)},
  online: {title: 'online softmax', run: memory => unfused(twoPassSoftmax, memory)},
  flash: {title: 'flash attention', run: fused},
};

export function walk(name: WayName): Walk {
  const {title, run} = WAYS[name];
  const memory = new NotedMemory();
  const result = run(memory);
  const steps: Step[] = [];
  let running = NONE;
  let [reads, writes] = [0, 0];
  memory.sweeps.forEach((kind, sweep) => {
    for (let tile = 0; tile < TILES; tile++) {
      running = ADVANCES[kind](running, tile * TILE, (tile + 1) * TILE);
      const count = memory.counts[sweep][tile];
      reads += count.reads;
      writes += count.writes;
      steps.push({sweep, tile, reads, writes, ...running});
    }
  });
  // Only flash attention keeps its output undivided; the division is its last step.
  const last = steps[steps.length - 1];
  if (name === 'flash') last.output = last.output!.map(value => value / last.rowSum!);
  return {title, sweeps: memory.sweeps, steps, result};
}
