/** The way from the product q·k to the logits of the softmax: what scales, shifts, masks or reshapes the scores. */
import type {Letters} from '../axes';
import type {NodeDef} from '../graph_def';
import type {Port} from '../graph_view';
import {asNumbers} from '../rule';
import {contraction, isContraction} from './contraction';
import type {Contraction} from './contraction';
import type {Expression} from './mask_algebra';
import {eitherOrder, isPerHead, isSingle, isTransparent, scalarValue} from './matchers';
import type {Subject} from './matchers';

export type Step = {node: NodeDef} & (
  | {kind: 'scale'; factor: number; by: Port}
  | {kind: 'add'; bias: Port; negative: boolean}
  /** A single number that only the run will tell. */
  | {kind: 'factor'; by: Port}
  /** A number for each batch element or head. */
  | {kind: 'perHead'; by: Port; divides: boolean}
  | {kind: 'multiply'; by: Port}
  | {kind: 'select'; keep: Port; fill: Port; inverted: boolean}
  | {kind: 'transpose'; perm: number[]}
  | {kind: 'reshape'}
  | {kind: 'tanh'}
  | {kind: 'same'}
);

export interface ScorePath {
  product: Contraction;
  /** From the product to the logits. */
  steps: Step[];
}

/** A term of the bias: an expression, negated or not, multiplied by what scaled the scores after it was added. */
export interface BiasTerm {
  expression: Expression;
  negative: boolean;
  scaledBy: Array<Step & {kind: 'scale'}>;
}

export interface Keep {
  expression: Expression;
  /** True where the tensor says what is hidden rather than what is kept. */
  inverted: boolean;
}

/** A sentence's end: why there is no path. */
export class NotFused {
  constructor(readonly reason: string) {}
}

/** Nodes looked at per site: real paths are shorter than 20. */
const BUDGET = 96;

export function scorePath(subject: Subject, logits: Port, letters: Letters): ScorePath | NotFused {
  let budget = BUDGET;
  let obstacle: NodeDef | undefined;

  const walk = (port: Port): ScorePath | null => {
    if (budget-- <= 0) return null;
    const {node} = port;
    if (isContraction(node)) {
      const product = contraction(subject, node, letters);
      if (!product) obstacle ??= node;
      return product && {product, steps: []};
    }
    const choices = continuations(subject, node);
    if (choices.length === 0) obstacle ??= node;
    for (const {input, step} of choices) {
      const path = walk(input);
      if (path) return {...path, steps: [...path.steps, step]};
    }
    return null;
  };
  const path = walk(logits);
  if (path) return path;
  const place = obstacle
    ? `come from ${obstacle.op} '${obstacle.name}'`
    : 'are computed in a way that is not understood';
  return new NotFused(`the scores ${place}, not from a product of queries and keys`);
}

const ARITY: Record<string, number> = {Add: 2, AddV2: 2, Sub: 2, Mul: 2, RealDiv: 2, Div: 2, Select: 3, SelectV2: 3};

/** The inputs through which the scores may have come into this node, likeliest first. */
function continuations(subject: Subject, node: NodeDef): Array<{input: Port; step: Step}> {
  const inputs = subject.graph.inputs(node);
  const [x, y, z] = inputs;
  // A file may leave inputs out.
  if (inputs.length < (ARITY[node.op] ?? 1)) return [];
  if (isTransparent(node)) return [{input: x, step: {kind: 'same', node}}];
  switch (node.op) {
    case 'Tanh':
      return [{input: x, step: {kind: 'tanh', node}}];
    case 'Reshape':
    case 'ExpandDims':
    case 'Squeeze':
      return [{input: x, step: {kind: 'reshape', node}}];
    case 'Transpose': {
      const perm = y && asNumbers(subject.shapes.value(y));
      return perm ? [{input: x, step: {kind: 'transpose', perm, node}}] : [];
    }
    case 'Add':
    case 'AddV2':
      return eitherOrder(inputs).map(([input, bias]) => ({input, step: {kind: 'add', bias, negative: false, node}}));
    case 'Sub':
      return [{input: x, step: {kind: 'add', bias: y, negative: true, node}}];
    case 'Mul':
      return eitherOrder(inputs).flatMap(([input, by]): Array<{input: Port; step: Step}> => {
        if (scalarValue(subject, input) !== undefined) return [];
        const factor = scalarValue(subject, by);
        if (factor !== undefined) return [{input, step: {kind: 'scale', factor, by, node}}];
        if (isSingle(subject, by)) return [{input, step: {kind: 'factor', by, node}}];
        if (isPerHead(subject, by)) return [{input, step: {kind: 'perHead', by, divides: false, node}}];
        return [{input, step: {kind: 'multiply', by, node}}];
      });
    case 'RealDiv':
    case 'Div': {
      const divisor = scalarValue(subject, y);
      if (divisor) return [{input: x, step: {kind: 'scale', factor: 1 / divisor, by: y, node}}];
      if (divisor === undefined && isSingle(subject, y)) return [{input: x, step: {kind: 'factor', by: y, node}}];
      return isPerHead(subject, y) ? [{input: x, step: {kind: 'perHead', by: y, divides: true, node}}] : [];
    }
    case 'Select':
    case 'SelectV2':
      // A vector of conditions selects whole rows there.
      if (node.op === 'Select' && subject.shapes.of(x)?.length === 1) return [];
      return [
        {input: y, step: {kind: 'select', keep: x, fill: z, inverted: false, node}},
        {input: z, step: {kind: 'select', keep: x, fill: y, inverted: true, node}},
      ];
    default:
      return [];
  }
}
