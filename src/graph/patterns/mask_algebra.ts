/** What masks mean, and arithmetic on it: positions, conditions j ≤ i + offset, and what is visible or hidden by them. */
import {ONE, add, known, neverNegative, subtract} from '../dims';
import type {Dim} from '../dims';
import type {NodeDef} from '../graph_def';
import type {Port} from '../graph_view';

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
  | {kind: 'masked'; offset: Dim; visible: Expression; hidden: number}
  | {kind: 'other'};

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
    kind: 'masked', offset: to, visible: {kind: 'number', value: visible}, hidden: 1 - visible,
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

/** What the hidden places become: known where the other operands do not matter, or only shift a number too low to matter. */
export function hiddenValue(
  op: string,
  values: Array<number | undefined>,
  f: (values: number[]) => number,
): number | undefined {
  if (values.every(value => value !== undefined)) return f(values);
  const knownValue = values.find(value => value !== undefined);
  if (op === 'Mul' || op === 'LogicalAnd') return values.includes(0) ? 0 : undefined;
  if (op === 'LogicalOr') return values.some(value => value === 1) ? 1 : undefined;
  if (op === 'Minimum' || op === 'Add' || op === 'AddV2') return knownValue! <= HIDES ? knownValue : undefined;
  if (op === 'Sub') return values[0] !== undefined && values[0] <= HIDES ? values[0] : values[1] !== undefined && -values[1] <= HIDES ? -values[1] : undefined; // prettier-ignore
  if (op === 'Select' || op === 'SelectV2')
    return values[0] === undefined ? undefined : values[0] ? values[1] : values[2];
  return undefined;
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
