/**
 * Between which numbers the elements of a tensor lie, as far as constants and known ops tell: a learned bias or a distance between
 * positions is told from a mask that may hide a key.
 */
import type {NodeDef} from '../graph_def';
import type {Port} from '../graph_view';
import type {Expression} from './mask_algebra';
import {constantValues, isTransparent} from './matchers';
import type {Subject} from './matchers';

interface Interval {
  low: number;
  high: number;
}

const ANYTHING: Interval = {low: -Infinity, high: Infinity};
const MAX_DEPTH = 24;
/** More positions than a sequence has. */
const POSITIONS = 2 ** 24;

/** Ops whose elements are elements of their first input. */
const PICKS =
  'Reshape ExpandDims Squeeze Transpose Tile BroadcastTo Slice StridedSlice Gather GatherV2 Split SplitV Unpack'.split(
    ' ',
  );
const RANGES: Record<string, Interval> = {
  Sigmoid: {low: 0, high: 1}, Tanh: {low: -1, high: 1}, Softmax: {low: 0, high: 1}, Sin: {low: -1, high: 1}, Cos: {low: -1, high: 1},
  Range: {low: -POSITIONS, high: POSITIONS}, OnesLike: {low: 1, high: 1}, ZerosLike: {low: 0, high: 0},
}; // prettier-ignore

/** Remembers what it found: many sites share their biases. */
export class Bounds {
  private readonly found = new Map<string, Interval>();

  constructor(private readonly subject: Subject) {}

  /** Infinite where nothing is known. */
  ofExpression(expression: Expression): Interval {
    if (expression.kind === 'number') return {low: expression.value, high: expression.value};
    if (expression.kind === 'tensor') return this.of(expression.port, 0);
    const {like, inputs} = expression;
    return valid(result(like, inputs.map(input => () => this.ofExpression(input)))); // prettier-ignore
  }

  private of(port: Port, depth: number): Interval {
    const before = this.found.get(port.key);
    if (before) return before;
    if (depth > MAX_DEPTH) return ANYTHING;
    const {graph} = this.subject;
    const interval =
      port.node.op === 'Const'
        ? spanOf(constantValues(this.subject, port))
        : valid(result(port.node, graph.inputs(port.node).map(input => () => this.of(input, depth + 1)))); // prettier-ignore
    this.found.set(port.key, interval);
    return interval;
  }
}

/** 0 · ∞ and the like tell nothing. */
function valid(interval: Interval): Interval {
  return Number.isNaN(interval.low) || Number.isNaN(interval.high) ? ANYTHING : interval;
}

/** What a node makes of its inputs, which are only looked at where they count. */
function result(node: NodeDef, inputs: Array<() => Interval>): Interval {
  const of = (n: number): Interval => inputs[n]?.() ?? ANYTHING;
  if (node.op in RANGES) return RANGES[node.op];
  if (isTransparent(node) || PICKS.includes(node.op)) return of(node.op === 'Split' ? 1 : 0);
  switch (node.op) {
    case 'Cast': {
      const {low, high} = of(0);
      return {low: Math.min(low, Math.trunc(low)), high: Math.max(high, Math.trunc(high))};
    }
    case 'Fill':
      return of(1);
    case 'Add':
    case 'AddV2':
      return sum(of(0), of(1));
    case 'Sub':
      return sum(of(0), negated(of(1)));
    case 'Mul':
      return products(of(0), of(1));
    case 'RealDiv':
    case 'Div': {
      const {low, high} = of(1);
      return low === high && low !== 0 ? products(of(0), {low: 1 / low, high: 1 / low}) : ANYTHING;
    }
    case 'Neg':
      return negated(of(0));
    case 'Abs': {
      const {low, high} = of(0);
      return {low: Math.max(0, low, -high), high: Math.max(-low, high)};
    }
    case 'Minimum': {
      const [a, b] = [of(0), of(1)];
      return {low: Math.min(a.low, b.low), high: Math.min(a.high, b.high)};
    }
    case 'Maximum': {
      const [a, b] = [of(0), of(1)];
      return {low: Math.max(a.low, b.low), high: Math.max(a.high, b.high)};
    }
    case 'Select':
    case 'SelectV2':
      return union([of(1), of(2)]);
    case 'ConcatV2':
      return union(inputs.slice(0, -1).map(input => input()));
    case 'Pack':
      return union(inputs.map(input => input()));
    default:
      return ANYTHING;
  }
}

function sum(a: Interval, b: Interval): Interval {
  return {low: a.low + b.low, high: a.high + b.high};
}

function negated({low, high}: Interval): Interval {
  return {low: -high, high: -low};
}

function products(a: Interval, b: Interval): Interval {
  const all = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high];
  return {low: Math.min(...all), high: Math.max(...all)};
}

function union(parts: Interval[]): Interval {
  return parts.reduce((all, {low, high}) => ({low: Math.min(all.low, low), high: Math.max(all.high, high)}), {
    low: Infinity,
    high: -Infinity,
  });
}

function spanOf(values: ArrayLike<number> | undefined): Interval {
  if (!values) return ANYTHING;
  let [low, high] = [Infinity, -Infinity];
  for (let n = 0; n < values.length; n++) {
    if (Number.isNaN(values[n])) return ANYTHING;
    low = Math.min(low, values[n]);
    high = Math.max(high, values[n]);
  }
  return {low, high};
}
