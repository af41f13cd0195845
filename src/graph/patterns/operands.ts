/** What q, k and v are before transposes, head splits, repeats and constant factors that the op can take over. */
import {hasAny, unpermuted} from '../axes';
import type {Axes, Letters} from '../axes';
import {ONE, same, sizeOf} from '../dims';
import type {Port} from '../graph_view';
import {asNumbers} from '../rule';
import {isTransparent, scalarValue} from './matchers';
import type {Subject} from './matchers';

export interface Operand {
  port: Port;
  axes: Axes;
  /** Product of the constants that multiplied it. */
  factor: number;
}

const MAX_STEPS = 16;

/**
 * Follows the operand up as long as every step is proved.
 * @param whole letters that must not be split: queries, keys and widths.
 * @param factors whether constant factors are taken off (not for v).
 */
export function peel(
  subject: Subject,
  start: Operand,
  letters: Letters,
  whole: readonly string[],
  factors: boolean,
): Operand {
  let best = start;
  let current: Operand | null = start;
  for (let n = 0; current && n < MAX_STEPS; n++) {
    const from: Operand = current;
    current = letters.without(whole, () => step(subject, from, letters, factors) ?? undefined) ?? null;
    // Merged axes in between are fine, but nothing is gained by ending there.
    if (current && isPlain(letters.current(current.axes))) best = current;
  }
  return best;
}

function isPlain(axes: Axes): boolean {
  return axes.every(axis => axis.length <= 1);
}

function step(subject: Subject, {port, axes, factor}: Operand, letters: Letters, factors: boolean): Operand | null {
  const {graph, shapes} = subject;
  const {node} = port;
  const [x, y] = graph.inputs(node);
  if (!x) return null;
  if (isTransparent(node)) return {port: x, axes, factor};
  switch (node.op) {
    case 'Transpose': {
      const perm = y && asNumbers(shapes.value(y));
      const before = perm && unpermuted(axes, perm);
      return before ? {port: x, axes: before, factor} : null;
    }
    case 'Reshape':
    case 'ExpandDims':
    case 'Squeeze': {
      const shape = shapes.of(x);
      const before = shape && !hasAny(axes) ? letters.regroup(axes, shapes.of(port), shape) : undefined;
      return before ? {port: x, axes: before, factor} : null;
    }
    case 'Tile':
    case 'BroadcastTo': {
      const [from, to] = [shapes.of(x), shapes.of(port)];
      if (!from || !to || from.length !== to.length || hasAny(axes)) return null;
      const groups = letters.current(axes);
      const provable = groups.every((group, i) => same(from[i], to[i]) || (same(from[i], ONE) && group.length <= 1));
      return provable ? {port: x, axes: groups.map((group, i) => (same(from[i], to[i]) ? group : '')), factor} : null;
    }
    case 'Mul': {
      if (!factors || !y) return null;
      const [left, right] = [scalarValue(subject, x), scalarValue(subject, y)];
      if (right !== undefined && keepsRank(subject, x, port)) return {port: x, axes, factor: factor * right};
      return left !== undefined && keepsRank(subject, y, port) ? {port: y, axes, factor: factor * left} : null;
    }
    case 'RealDiv':
    case 'Div': {
      const divisor = factors && y ? scalarValue(subject, y) : undefined;
      return divisor && keepsRank(subject, x, port) ? {port: x, axes, factor: factor / divisor} : null;
    }
    default:
      return null;
  }
}

/** A "scalar" of shape [1, 1, 1, 1] could raise the other operand's rank. */
function keepsRank({shapes}: Subject, input: Port, output: Port): boolean {
  const [a, b] = [shapes.of(input), shapes.of(output)];
  return a === undefined || b === undefined || a.length === b.length;
}

/** Static sizes that a merged axis needs so that it can be taken apart at run time; null where too few are known. */
export function staticSizes(axes: readonly Axes[], letters: Letters): Map<string, number> | null {
  const sizes = new Map<string, number>();
  const apart = new Set(axes.flatMap(list => list.filter(axis => axis.length === 1)));
  for (const group of axes.flat().filter(axis => axis.length > 1)) {
    let open = 0;
    for (const letter of group) {
      const size = letters.sizeOf(letter);
      const number = size && sizeOf(size);
      if (number !== undefined) sizes.set(letter, number);
      else if (!apart.has(letter)) open++;
    }
    if (open > 1) return null;
  }
  return sizes;
}
