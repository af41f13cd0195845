/** What `npm run bench` measures, as it is saved in test/benchmark/results and shown in tables. */

export const BACKENDS = ['cpu', 'wasm', 'tensorflow', 'webgl', 'webgpu'] as const;
export type Backend = (typeof BACKENDS)[number];

export const PASSES = ['forward', 'backward', 'decode'] as const;
export type Pass = (typeof PASSES)[number];

/** One size of one pass: B 1, H heads of N keys and width D; N queries, or one in decode. */
export interface Problem {
  pass: Pass;
  H: number;
  N: number;
  D: number;
}

/** What `explain` says before the call, for a machine of the measured peak and bandwidth. */
export interface Prediction {
  bound: string;
  ms: number;
  /** Held besides inputs and outputs, MB. */
  megabytes: number;
}

export interface Row extends Problem {
  contestant: string;
  /** Of flash attention: the implementation; absent for the others. */
  implementation?: string;
  /** Of flash attention: unless forced otherwise this implementation serves the call. */
  isChosen?: boolean;
  /** Median and quartiles of a run, milliseconds. */
  ms: number;
  lower: number;
  upper: number;
  gflops: number;
  /** How many times as fast as the chain, and as the fastest contestant that is not flash attention. */
  timesChain?: number;
  timesBestPeer?: number;
  /** What one run holds at its peak with what it returns, MB; where it can be measured. */
  megabytes?: number;
  shareOfPeak: number;
  /** Of forward passes and decoding. */
  predicted?: Prediction;
}

/** The roofs of the machine, measured in the same run. */
export interface Roofs {
  gflops: number;
  /** GB/s read and written. */
  bandwidth: number;
  /** How they were measured. */
  by: string;
}

export interface Result {
  command: string;
  date: string;
  machine: {cpu: string; cores: number; system: string; gpu?: string};
  versions: Record<string, string>;
  backend: Backend;
  threads: number;
  roofs: Roofs;
  /** How `megabytes` was measured. */
  memoryBy: string;
  rows: Row[];
  /** Contestants that did not take part in a size, and why. */
  leftOut: string[];
}

/** Queries of a problem. */
export const queriesOf = ({pass, N}: Problem): number => (pass === 'decode' ? 1 : N);

export const nameOf = ({pass, N}: Problem): string => `${pass}, N ${N}`;

/** FLOPs of the products, 2 a multiply-add: two forward, five more backward. */
export function flopsOf({pass, H, N, D}: Problem): number {
  return {forward: 4 * N, backward: 14 * N, decode: 4}[pass] * H * N * D;
}
