/** The ways in which graphs spell softmax over the last axis. */
import {boolAttr} from '../graph_def';
import type {NodeDef} from '../graph_def';
import {outputOf} from '../graph_view';
import type {Port} from '../graph_view';
import {asNumbers} from '../rule';
import {behind, eitherOrder, inputsOf, isOp, samePort, scalarValue} from './matchers';
import type {Subject} from './matchers';

export interface SoftmaxMatch {
  form: 'softmax' | 'exp-sum-div' | 'exp-log-softmax' | 'exp-matmul-div';
  logits: Port;
  /** The node that gives the probabilities; of 'exp-matmul-div' what is divided by its sum after the product with v. */
  node: NodeDef;
}

export function matchSoftmax(subject: Subject, node: NodeDef): SoftmaxMatch | null {
  const port: Port = outputOf(node);
  const softmax = inputsOf(subject, port, 1, 'Softmax');
  if (softmax) return {form: 'softmax', logits: softmax[0], node};

  const exponent = inputsOf(subject, port, 1, 'Exp')?.[0];
  const log = exponent && behind(subject, exponent);
  const logits = inputsOf(subject, log, 1, 'LogSoftmax')?.[0] ?? expMinusLogSum(subject, log);
  if (logits) return {form: 'exp-log-softmax', logits, node};
  if (exponent && isSummed(subject, node)) {
    return {form: 'exp-matmul-div', logits: unshifted(subject, exponent) ?? exponent, node};
  }

  const quotient = inputsOf(subject, port, 2, 'RealDiv', 'Div', 'DivNoNan');
  const product = inputsOf(subject, port, 2, 'Mul');
  const pairs: Array<[Port, Port | null]> = quotient
    ? [[quotient[0], quotient[1]]]
    : product
      ? eitherOrder(product).map(([a, b]) => [a, inputsOf(subject, behind(subject, b), 1, 'Reciprocal', 'Inv')?.[0] ?? null])
      : []; // prettier-ignore
  for (const [numerator, denominator] of pairs) {
    const found = denominator && expOverSum(subject, numerator, denominator);
    if (found) return {form: 'exp-sum-div', logits: found, node};
  }
  return null;
}

/** exp(x − max x) / Σ exp(x − max x), with or without the maximum. */
function expOverSum(subject: Subject, numerator: Port, denominator: Port): Port | null {
  const exp = behind(subject, numerator);
  const exponent = inputsOf(subject, exp, 1, 'Exp')?.[0];
  if (!exponent) return null;
  const shifted = unshifted(subject, exponent);
  // Where the largest term is 1, a sum is never below it.
  const sum = reducedOverLast(subject, shifted ? withoutEpsilon(subject, denominator) : denominator, 'Sum');
  return sum && samePort(behind(subject, sum), exp) ? (shifted ?? exponent) : null;
}

/** Whether something reads the sum of this node over its last axis. */
function isSummed(subject: Subject, node: NodeDef): boolean {
  const isSum = (reader: NodeDef): boolean => reader.op === 'Sum' && overLast(subject, reader);
  return subject.graph.consumers(node).some(isSum);
}

/** Whether a tensor is Σ exp(x − max x) over the last axis of that exp, with its axis kept. */
export function isSumOf(subject: Subject, port: Port, {node}: SoftmaxMatch): boolean {
  const exponent = subject.graph.input(node, 0);
  const shifted = exponent !== undefined && unshifted(subject, exponent) !== null;
  const sum = reducedOverLast(subject, shifted ? withoutEpsilon(subject, port) : port, 'Sum');
  return sum !== null && behind(subject, sum).node === node;
}

/** exp(x − log Σ exp x), the logarithm as TensorFlow's reduce_logsumexp has it: with the maximum taken off and added again. */
function expMinusLogSum(subject: Subject, exponent: Port | undefined): Port | null {
  const [x, total] = (exponent && inputsOf(subject, behind(subject, exponent), 2, 'Sub')) ?? [];
  if (!x || !total) return null;
  const sum = inputsOf(subject, behind(subject, total), 2, 'Add', 'AddV2');
  const pairs: Array<[Port, Port?]> = sum ? eitherOrder(sum) : [[total]];
  for (const [log, max] of pairs) {
    const exps = inputsOf(subject, behind(subject, log), 1, 'Log')?.[0];
    const terms = exps && reducedOverLast(subject, exps, 'Sum');
    const term = terms && inputsOf(subject, behind(subject, terms), 1, 'Exp')?.[0];
    if (!term) continue;
    const logits = max ? unshifted(subject, term) : term;
    if (logits && samePort(behind(subject, logits), behind(subject, x)) && (!max || isMaxOf(subject, max, x))) return x;
  }
  return null;
}

/** x of x − max x. */
function unshifted(subject: Subject, port: Port): Port | null {
  const [x, max] = inputsOf(subject, behind(subject, port), 2, 'Sub') ?? [];
  return x && max && isMaxOf(subject, max, x) ? x : null;
}

/** The maximum of x over its last axis, or that with 0 for what is not finite. */
function isMaxOf(subject: Subject, port: Port, x: Port): boolean {
  const max = behind(subject, port);
  const [condition, chosen] = inputsOf(subject, max, 3, 'Select', 'SelectV2') ?? [];
  if (condition && chosen) return isOp(behind(subject, condition), 'IsFinite') && isMaxOf(subject, chosen, x);
  const input = reducedOverLast(subject, max, 'Max');
  return input !== null && samePort(behind(subject, input), behind(subject, x));
}

/** Half the distance from 1 to the next larger float32: adding less changes no sum of at least 1. */
const HALF_ULP = 2 ** -24;

/** s of s + ε or max(s, ε), where ε is too small to count. */
function withoutEpsilon(subject: Subject, port: Port): Port {
  const inputs = inputsOf(subject, behind(subject, port), 2, 'Add', 'AddV2', 'Maximum');
  const found = inputs && eitherOrder(inputs).find(([, epsilon]) => isTiny(scalarValue(subject, epsilon)));
  return found ? found[0] : port;
}

function isTiny(value: number | undefined): boolean {
  return value !== undefined && value >= 0 && value < HALF_ULP;
}

/** The input of a reduction over the last axis that keeps the rank, by itself or by an ExpandDims behind it. */
function reducedOverLast(subject: Subject, port: Port, op: string): Port | null {
  const {graph} = subject;
  const source = behind(subject, port);
  const expanded = inputsOf(subject, source, 2, 'ExpandDims');
  const reduction = expanded ? behind(subject, expanded[0]) : source;
  if (!isOp(reduction, op) || boolAttr(reduction.node, 'keep_dims') === (expanded !== null)) return null;
  const input = graph.input(reduction.node, 0);
  return input && overLast(subject, reduction.node) && (!expanded || isLast(subject, expanded[1], input))
    ? input
    : null;
}

function overLast(subject: Subject, reduction: NodeDef): boolean {
  const [input, axes] = subject.graph.inputs(reduction);
  return input !== undefined && isLast(subject, axes, input);
}

/** Whether this is the number of a tensor's last axis. */
function isLast({shapes}: Subject, axis: Port | undefined, of: Port): boolean {
  const numbers = asNumbers(shapes.value(axis));
  const rank = shapes.of(of)?.length;
  return numbers?.length === 1 && (numbers[0] === -1 || (rank !== undefined && numbers[0] === rank - 1));
}
