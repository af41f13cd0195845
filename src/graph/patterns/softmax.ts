/** The ways in which graphs spell softmax over the last axis. */
import {boolAttr} from '../graph_def';
import type {NodeDef} from '../graph_def';
import {outputOf} from '../graph_view';
import type {Port} from '../graph_view';
import {asNumbers} from '../rule';
import {behind, eitherOrder, inputsOf, isOp, samePort} from './matchers';
import type {Subject} from './matchers';

export interface SoftmaxMatch {
  form: 'softmax' | 'exp-sum-div' | 'exp-log-softmax';
  logits: Port;
  /** The node that gives the probabilities. */
  node: NodeDef;
}

export function matchSoftmax(subject: Subject, node: NodeDef): SoftmaxMatch | null {
  const port: Port = outputOf(node);
  const softmax = inputsOf(subject, port, 1, 'Softmax');
  if (softmax) return {form: 'softmax', logits: softmax[0], node};

  const log = inputsOf(subject, port, 1, 'Exp')?.map(input => behind(subject, input))[0];
  const logits = inputsOf(subject, log, 1, 'LogSoftmax');
  if (logits) return {form: 'exp-log-softmax', logits: logits[0], node};

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
  const sum = reducedOverLast(subject, behind(subject, denominator), 'Sum');
  if (!exponent || !sum || !samePort(behind(subject, sum), exp)) return null;
  const difference = inputsOf(subject, behind(subject, exponent), 2, 'Sub');
  const max = difference && reducedOverLast(subject, behind(subject, difference[1]), 'Max');
  const isShift = max && samePort(behind(subject, max), behind(subject, difference[0]));
  return isShift ? difference[0] : exponent;
}

function reducedOverLast(subject: Subject, port: Port, op: string): Port | null {
  if (!isOp(port, op) || !boolAttr(port.node, 'keep_dims')) return null;
  const [input, axes] = subject.graph.inputs(port.node);
  const rank = input && subject.shapes.of(input)?.length;
  const axis = asNumbers(subject.shapes.value(axes));
  if (axis?.length !== 1) return null;
  return axis[0] === -1 || (rank !== undefined && axis[0] === rank - 1) ? input : null;
}
