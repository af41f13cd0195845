/** What masks mean, and arithmetic on it: positions, conditions j ≤ i + offset, and what is visible or hidden by them. */
import {ONE, add, known, neverNegative, same, subtract} from '../dims';
import type {Dim} from '../dims';
import type {NodeDef} from '../graph_def';
import type {Port} from '../graph_view';
import type {Shape} from '../rule';

/** A value that new nodes can be built for: a number, an existing tensor, or an existing op over other values. */
export type Expression =
  | {kind: 'number'; value: number; port?: Port}
  | {kind: 'tensor'; port: Port}
  | {kind: 'op'; like: NodeDef; inputs: Expression[]};

export type Meaning =
  | {kind: 'number'; value: number}
  /** Σ coefficient · position along an axis (counted from the last, which is 0) + offset. */
  | {kind: 'positions'; coefficients: ReadonlyMap<number, number>; offset: Dim}
  /** Holds where j ≤ i + offset; i is the position on the second last axis, j on the last. */
  | ({kind: 'masked'; offset: Dim; visible: Expression} & Elsewhere)
  | {kind: 'other'};

/** What a mask is where its condition fails: the number `hidden`, that number more than what is visible, or something about as low. */
export interface Elsewhere {
  hidden: number;
  as: 'number' | 'more' | 'about';
}

export const OTHER: Meaning = {kind: 'other'};

/** A meaning that integer arithmetic can go on with. */
export function asPositions(meaning: Meaning): {coefficients: ReadonlyMap<number, number>; offset: Dim} | null {
  if (meaning.kind === 'positions') return meaning;
  return meaning.kind === 'number' && Number.isInteger(meaning.value) ? {coefficients: new Map(), offset: known(meaning.value)} : null; // prettier-ignore
}

type Positions = NonNullable<ReturnType<typeof asPositions>>;

export function combined(a: Positions, b: Positions, sign: 1 | -1): Meaning {
  const offset = add(a.offset, b.offset, sign);
  const coefficients = new Map(a.coefficients);
  for (const [axis, c] of b.coefficients) {
    const sum = (coefficients.get(axis) ?? 0) + sign * c;
    if (sum === 0) coefficients.delete(axis);
    else coefficients.set(axis, sum);
  }
  return offset ? {kind: 'positions', coefficients, offset} : OTHER;
}

/**
 * a ⋛ b as a condition j ≤ i + offset.
 * @param keys how many places j has.
 */
export function compared(op: string, a: Positions, b: Positions, keys?: Dim): Meaning {
  const strict = op === 'Less' || op === 'Greater';
  if (!strict && op !== 'LessEqual' && op !== 'GreaterEqual') return OTHER;
  const greater = op.startsWith('Greater');
  // small ≤ large (or <): large − small ≥ 0 (or ≥ 1).
  const difference = greater ? combined(a, b, -1) : combined(b, a, -1);
  if (difference.kind !== 'positions') return OTHER;
  const [j, i] = [difference.coefficients.get(0), difference.coefficients.get(1)];
  const offset = strict ? subtract(difference.offset, ONE) : difference.offset;
  if (!offset) return OTHER;
  // The single token of a decode step: its position is a number.
  if (difference.coefficients.size === 1) return j === -1 && reachesAll(offset, keys) ? {kind: 'number', value: 1} : OTHER; // prettier-ignore
  if (difference.coefficients.size !== 2) return OTHER;
  const masked = (to: Dim, visible: number): Meaning => ({
    kind: 'masked', offset: to, visible: {kind: 'number', value: visible}, hidden: 1 - visible, as: 'number',
  }); // prettier-ignore
  if (j === -1 && i === 1) return masked(offset, 1);
  // j − i + offset ≥ 0 is the complement of j ≤ i − offset − 1.
  const complement = j === 1 && i === -1 ? subtract(known(-1), offset) : null;
  return complement ? masked(complement, 0) : OTHER;
}

/** Whether j ≤ offset holds for every j. */
export function reachesAll(offset: Dim, keys: Dim | undefined): boolean {
  const spare = keys && subtract(add(offset, ONE) ?? offset, keys);
  return spare != null && neverNegative(spare);
}

/** What an op on these operands is at the hidden places; null where that is not known. */
export function elsewhere(op: string, operands: readonly Meaning[], f: (values: number[]) => number): Elsewhere | null {
  const values = operands.map(x => (x.kind === 'masked' ? x.hidden : x.kind === 'number' ? x.value : undefined));
  const more = difference(op, operands, f);
  const plain = operands.every(x => x.kind !== 'masked' || x.as === 'number');
  if (plain && values.every(value => value !== undefined)) return {hidden: f(values), as: 'number'};
  if (more !== null) return {hidden: more, as: 'more'};
  const chosen = plain ? absorbed(op, values) : undefined;
  if (chosen !== undefined) return {hidden: chosen, as: 'number'};
  const low = values.every(value => value !== undefined) ? f(values) : lowered(op, values);
  return low === undefined ? null : {hidden: low, as: 'about'};
}

const LINEAR = ['Add', 'AddV2', 'Sub', 'Neg', 'Identity', 'StopGradient'];

/** By how much the hidden places differ from the visible ones, where one number tells: sums of such, and multiples. */
function difference(op: string, operands: readonly Meaning[], f: (values: number[]) => number): number | null {
  const own = operands.map(x => {
    if (x.kind !== 'masked') return 0;
    if (x.as === 'more') return x.hidden;
    return x.as === 'number' && x.visible.kind === 'number' ? x.hidden - x.visible.value : null;
  });
  if (own.includes(null)) return null;
  const [a, b] = operands;
  if (LINEAR.includes(op)) return f(own as number[]);
  if (op === 'Mul' && b.kind === 'number') return own[0]! * b.value;
  if (op === 'Mul' && a.kind === 'number') return own[1]! * a.value;
  return op === 'RealDiv' && b.kind === 'number' ? own[0]! / b.value : null;
}

/** Where the other operands do not matter. */
function absorbed(op: string, values: Array<number | undefined>): number | undefined {
  if (op === 'Mul' || op === 'LogicalAnd') return values.includes(0) ? 0 : undefined;
  if (op === 'LogicalOr') return values.includes(1) ? 1 : undefined;
  if (op !== 'Select' && op !== 'SelectV2') return undefined;
  return values[0] === undefined ? undefined : values[0] ? values[1] : values[2];
}

/** Where the other operands only shift a number that is too low for that to matter. */
function lowered(op: string, values: Array<number | undefined>): number | undefined {
  const number = values.find(value => value !== undefined);
  if (op === 'Minimum' || op === 'Add' || op === 'AddV2') return number !== undefined && number <= HIDES ? number : undefined; // prettier-ignore
  if (op !== 'Sub') return undefined;
  const [a, b] = values;
  return a !== undefined && a <= HIDES ? a : b !== undefined && -b <= HIDES ? -b : undefined;
}

/** Scores lowered by this much have probability 0: models use −1e4 (float16's reach), −1e9, or the type's lowest. */
export const HIDES = -9999;

/** Numbers need a constant of the graph to stand for them: no weight is ever added. */
export function canBuild(expression: Expression): boolean {
  if (expression.kind === 'number') return expression.port !== undefined;
  return expression.kind === 'tensor' || expression.inputs.every(canBuild);
}

/** The op on the visible values, without what it then does not change. */
export function simplified(node: NodeDef, inputs: Expression[], f: (values: number[]) => number): Expression {
  const numbers = inputs.map(input => (input.kind === 'number' ? input.value : undefined));
  if (numbers.every(n => n !== undefined)) return {kind: 'number', value: f(numbers)};
  const neutral = ({Mul: 1, LogicalAnd: 1, LogicalOr: 0, Add: 0, AddV2: 0} as Record<string, number>)[node.op];
  if (neutral !== undefined) {
    const rest = inputs.filter((_, i) => numbers[i] !== neutral);
    if (rest.length === 1) return rest[0];
  }
  if ((node.op === 'Mul' || node.op === 'LogicalAnd') && numbers.includes(0)) return {kind: 'number', value: 0};
  if (node.op === 'Sub' && numbers[1] === 0) return inputs[0];
  if ((node.op === 'Select' || node.op === 'SelectV2') && numbers[0] !== undefined) return inputs[numbers[0] ? 1 : 2];
  return {kind: 'op', like: node, inputs};
}

/** Where each axis (counted from the last) goes when only axes of size 1 come or go. */
export function axesMoved(from: Shape, to: Shape): Map<number, number> | null {
  const kept = (shape: Shape): number[] => shape.flatMap((dim, i) => (same(dim, ONE) ? [] : [i]));
  const [a, b] = [kept(from), kept(to)];
  if (a.length !== b.length || !a.every((axis, n) => same(from[axis], to[b[n]]))) return null;
  return new Map(a.map((axis, n) => [from.length - 1 - axis, to.length - 1 - b[n]]));
}
