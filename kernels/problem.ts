/**
 * One call of attention as plain, validated numbers. Every shape rule lives here, once: the op builds an `AttentionProblem`
 * from its arguments, and every kernel on every backend trusts it without looking again.
 *
 * B batch, H query heads, Hkv key/value heads (H a multiple of Hkv), Sq queries, Sk keys, D query/key width, Dv value width.
 */
import {argumentError, checkOptions} from './options';
import type {Layout, NumberOptions, Precision} from './options';

/** A shape that broadcasts to the scores [B, H, Sq, Sk]: each entry is 1 or the full size. */
export type ScoresShape = readonly [number, number, number, number];

/** What is known of a tensor argument without reading its values. */
export interface ArgumentSpec {
  shape: number[];
  dtype: string;
}

/** The tensors of one call, by role; T is a spec, a tensor or a typed array, by who asks. */
export interface AttentionInputs<T> {
  q: T;
  k: T;
  v: T;
  /** float32, broadcasts to the scores. */
  bias?: T;
  /** bool, broadcasts to the scores; true may attend. */
  mask?: T;
  /** float32 [H] or [B, H]. */
  alibiSlopes?: T;
  /** int32 [B]. */
  keyLengths?: T;
  /** int32 [B]; present only where the offset is a tensor. */
  queryOffset?: T;
  /** int32 [B, Sq] and [B, Sk]; both or neither. */
  querySegments?: T;
  keySegments?: T;
  /** float32 [H]. */
  sinks?: T;
}

/** Canonical order of the inputs wherever they travel as a list. */
export const INPUT_NAMES = [
  'q', 'k', 'v', 'bias', 'mask', 'alibiSlopes', 'keyLengths', 'queryOffset', 'querySegments', 'keySegments', 'sinks',
] as const satisfies ReadonlyArray<keyof AttentionInputs<unknown>>; // prettier-ignore

export type InputName = (typeof INPUT_NAMES)[number];

export interface AttentionProblem {
  B: number;
  H: number;
  Hkv: number;
  Sq: number;
  Sk: number;
  D: number;
  Dv: number;
  layout: Layout;
  scale: number;
  /** Key j is visible to query i only if i + offset − windowLeft ≤ j; −1: no bound. */
  windowLeft: number;
  /** Key j is visible to query i only if j ≤ i + offset + windowRight; −1: no bound. `causal` arrives here as 0. */
  windowRight: number;
  /** Key position of query 0; unused where `hasQueryOffset`. */
  queryOffset: number;
  /** 0: off. */
  softcap: number;
  /** Probability of dropping; 0: off. */
  dropout: number;
  /** Philox key; meaningful where dropout > 0. */
  seed: number;
  precision: Precision;
  bias: ScoresShape | null;
  mask: ScoresShape | null;
  alibi: 'none' | 'perHead' | 'perBatchAndHead';
  hasKeyLengths: boolean;
  /** The offset is the input `queryOffset`, int32 [B], whose values the host never reads. */
  hasQueryOffset: boolean;
  hasSegments: boolean;
  hasSinks: boolean;
}

/** Element strides of batch, head and row; the last axis has stride 1. */
export interface Strides {
  batch: number;
  head: number;
  row: number;
}

/**
 * Validates one call and returns it as numbers.
 * @param opName the op the messages name.
 * @param specs shapes and dtypes of the tensor arguments, in the caller's rank (2, 3 or 4).
 * @param options the number, boolean and word options as the caller gave them.
 * @throws Error in tfjs's wording, naming the argument, what was expected and what came.
 */
export function attentionProblem(
  opName: string,
  specs: AttentionInputs<ArgumentSpec>,
  options: NumberOptions,
): AttentionProblem {
  const fail = argumentError(opName);
  checkOptions(opName, options);
  const layout = options.layout ?? 'BHSD';
  const rank = specs.q.shape.length;
  if (rank < 2 || rank > 4) throw fail('q', 'be a tensor of rank 2, 3 or 4', specs.q.shape);
  for (const name of ['k', 'v'] as const) {
    if (specs[name].shape.length !== rank) throw fail(name, `have the same rank as q (${rank})`, specs[name].shape);
  }
  const q = asRank4(specs.q.shape, layout);
  const k = asRank4(specs.k.shape, layout);
  const v = asRank4(specs.v.shape, layout);
  const {B, H, S: Sq, D} = q;
  const {H: Hkv, S: Sk} = k;
  const Dv = v.D;

  if (D < 1) throw fail('q', 'have a last dimension of at least 1', specs.q.shape);
  if (k.D !== D) throw fail('k', `have the same last dimension as q (${D})`, specs.k.shape);
  if (Dv < 1) throw fail('v', 'have a last dimension of at least 1', specs.v.shape);
  if (k.B !== B) throw fail('k', `have the same batch size as q (${B})`, specs.k.shape);
  if (v.B !== B) throw fail('v', `have the same batch size as q (${B})`, specs.v.shape);
  if (H < 1) throw fail('q', 'have at least one head', specs.q.shape);
  if (Hkv < 1 || H % Hkv !== 0) throw fail('k', `have a number of heads that divides q's (${H})`, specs.k.shape);
  if (v.H !== Hkv) throw fail('v', `have the same number of heads as k (${Hkv})`, specs.v.shape);
  if (v.S !== Sk) throw fail('v', `have the same number of keys as k (${Sk})`, specs.v.shape);

  const scores = rank === 4 ? [B, H, Sq, Sk] : rank === 3 ? [B, Sq, Sk] : [Sq, Sk];
  const scoresShape = (name: 'bias' | 'mask'): ScoresShape | null => {
    const shape = specs[name]?.shape;
    if (!shape) return null;
    const fits = shape.length <= rank && shape.every((n, i) => n === 1 || n === scores[rank - shape.length + i]);
    if (!fits) throw fail(name, `broadcast to the scores' shape [${scores}]`, shape);
    return broadcastShape(shape, rank);
  };
  const exactly = (argument: string, name: InputName, ...shapes: number[][]): boolean => {
    const shape = specs[name]?.shape;
    if (!shape) return false;
    if (!shapes.some(wanted => wanted.length === shape.length && wanted.every((n, i) => n === shape[i]))) {
      throw fail(argument, `have shape ${shapes.map(s => `[${s}]`).join(' or ')}`, shape);
    }
    return true;
  };

  const bias = scoresShape('bias');
  const mask = scoresShape('mask');
  const hasAlibi = exactly('alibiSlopes', 'alibiSlopes', [H], [B, H]);
  const hasKeyLengths = exactly('keyLengths', 'keyLengths', [B]);
  const hasQueryOffset = exactly('queryOffset', 'queryOffset', [B]);
  const hasSegments = exactly('segmentIds.query', 'querySegments', [B, Sq]);
  exactly('segmentIds.key', 'keySegments', [B, Sk]);
  const hasSinks = exactly('sinks', 'sinks', [H]);

  const [left, right] = options.window ?? [-1, -1];
  return {
    B, H, Hkv, Sq, Sk, D, Dv, layout,
    scale: options.scale ?? 1 / Math.sqrt(D),
    windowLeft: left < UNBOUNDED ? left : -1,
    windowRight: options.causal ? 0 : right < UNBOUNDED ? right : -1,
    queryOffset: options.queryOffset ?? Sk - Sq,
    softcap: options.softcap ?? 0,
    dropout: options.dropout ?? 0,
    seed: options.seed ?? 0,
    precision: options.precision ?? 'float32',
    bias,
    mask,
    alibi: !hasAlibi ? 'none' : specs.alibiSlopes!.shape.length === 1 ? 'perHead' : 'perBatchAndHead',
    hasKeyLengths, hasQueryOffset, hasSegments, hasSinks,
  }; // prettier-ignore
}

/** Windows at least this wide see everything; it keeps i + offset ± window inside int32 on every device. */
const UNBOUNDED = 2 ** 29;

function asRank4(shape: number[], layout: Layout): {B: number; H: number; S: number; D: number} {
  if (shape.length === 4) {
    const [B, second, third, D] = shape;
    return layout === 'BHSD' ? {B, H: second, S: third, D} : {B, H: third, S: second, D};
  }
  const [S, D] = shape.slice(-2);
  return {B: shape.length === 3 ? shape[0] : 1, H: 1, S, D};
}

/** A bias or mask shape for scores of the given rank, as rank 4: missing axes are 1. */
export function broadcastShape(shape: number[], rank: number): ScoresShape {
  const full = [...Array<number>(rank - shape.length).fill(1), ...shape];
  if (rank === 4) return full as unknown as ScoresShape;
  return rank === 3 ? [full[0], 1, full[1], full[2]] : [1, 1, full[0], full[1]];
}

/** Rank-4 shapes of q, k, v and the output in the problem's layout. */
export function shapesOf({B, H, Hkv, Sq, Sk, D, Dv, layout}: AttentionProblem) {
  const shape = (heads: number, rows: number, width: number): [number, number, number, number] =>
    layout === 'BHSD' ? [B, heads, rows, width] : [B, rows, heads, width];
  return {q: shape(H, Sq, D), k: shape(Hkv, Sk, D), v: shape(Hkv, Sk, Dv), output: shape(H, Sq, Dv)};
}

/** Element strides of q, k, v and the output in the problem's layout. */
export function stridesOf({H, Hkv, Sq, Sk, D, Dv, layout}: AttentionProblem) {
  const strides = (heads: number, rows: number, width: number): Strides =>
    layout === 'BHSD'
      ? {batch: heads * rows * width, head: rows * width, row: width}
      : {batch: heads * rows * width, head: width, row: heads * width};
  return {q: strides(H, Sq, D), k: strides(Hkv, Sk, D), v: strides(Hkv, Sk, Dv), output: strides(H, Sq, Dv)};
}

/** Element strides of a broadcast bias or mask; 0 along the axes it is broadcast over. */
export function scoresStrides([b, h, i, j]: ScoresShape): {batch: number; head: number; row: number; key: number} {
  return {
    batch: b === 1 ? 0 : h * i * j,
    head: h === 1 ? 0 : i * j,
    row: i === 1 ? 0 : j,
    key: j === 1 ? 0 : 1,
  };
}

/** { batch: 5 } of 'q' is { qBatch: 5 times the bytes of an element }. */
export function namedStrides(name: string, strides: object, bytes = 1): Record<string, number> {
  return Object.fromEntries(
    Object.entries(strides).map(([axis, n]) => [name + axis[0].toUpperCase() + axis.slice(1), bytes * (n as number)]),
  );
}

/** The inputs that are there, each turned into something. */
export function mapInputs<T, U>(inputs: AttentionInputs<T>, of: (input: T) => U): AttentionInputs<U> {
  const entries = Object.entries(inputs) as Array<[string, T | undefined]>;
  return Object.fromEntries(
    entries.flatMap(([name, input]) => (input === undefined ? [] : [[name, of(input)]])),
  ) as unknown as AttentionInputs<U>;
}

/** The keys [from, to) that the window and causality let query i see; masks, lengths and segments come on top. */
export function visibleKeys(problem: AttentionProblem, i: number, offset: number): {from: number; to: number} {
  const {windowLeft, windowRight, Sk} = problem;
  const from = windowLeft < 0 ? 0 : Math.min(Sk, Math.max(0, i + offset - windowLeft));
  const to = windowRight < 0 ? Sk : Math.max(0, Math.min(Sk, i + offset + windowRight + 1));
  return {from, to: Math.max(from, to)};
}
