/** What the page and its worker say to each other: one request, then reports until it is finished or has failed. */
import type {Explanation} from 'tfjs-flash-attention';

export const BACKENDS = ['webgpu', 'webgl', 'wasm', 'cpu'] as const;
export type BackendName = (typeof BACKENDS)[number];

/** The two ways to compute attention: matMul, softmax, matMul; and the fused op. */
export interface Both<T> {
  chain: T;
  flash: T;
}

/** One call: B batches, H heads, N queries and keys, D the width of q, k and v. */
export interface Settings {
  backend: BackendName;
  B: number;
  H: number;
  N: number;
  D: number;
  causal: boolean;
  /** Keys that a query sees to its left and right; −1 is all. */
  window: [number, number];
  float16: boolean;
}

export interface Request {
  settings: Settings;
  /** Sequence lengths to draw a curve over; without them the one call of `settings` is examined. */
  sizes?: number[];
}

/** How far the results lie apart; `chain` is null where the chain was not run. */
export interface Agreement {
  agrees: boolean;
  /** Largest |flash − chain| over the whole output. */
  difference: number | null;
  /** Largest |difference| to float64 arithmetic over the sampled rows. */
  errors: {chain: number | null; flash: number};
  rows: number;
  allowed: number;
}

export interface Timing {
  /** Milliseconds a call: median, fastest and slowest of the rounds. */
  ms: number;
  fastest: number;
  slowest: number;
  calls: number;
  rounds: number;
}

/** Bytes at the peak, besides inputs and output. */
export interface Held {
  bytes: number;
  source: 'measured' | 'planned';
}

/** What the backend's own ops reach. */
export interface Roofs {
  /** FLOP/s of a product of two `side` × `side` matrices. */
  flops: number;
  side: number;
  /** Bytes/s, read and written, of a copy of `copyBytes`. */
  bandwidth: number;
  copyBytes: number;
}

/** A length of the sweep; milliseconds a call. */
export interface CurvePoint {
  N: number;
  flash: number;
  chain: number | null;
}

export type Report =
  | {kind: 'doing'; what: string; done: number; of: number}
  | {kind: 'device'; device: string}
  | {kind: 'plan'; explanation: Explanation}
  | {kind: 'agreement'; agreement: Agreement; noChain: string | null}
  | {kind: 'memory'; held: {chain: Held; flash: Held}}
  | {kind: 'times'; times: {chain: Timing | null; flash: Timing}}
  | {kind: 'roofs'; roofs: Roofs; explanation: Explanation}
  | {kind: 'point'; point: CurvePoint}
  | {kind: 'remark'; text: string}
  | {kind: 'finished'}
  | {kind: 'failed'; reason: string};

export type Tell = (report: Report) => void;
