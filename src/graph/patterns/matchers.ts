/** Small matchers that the larger patterns are put together from: each looks at one tensor and answers null or what it found. */
import {sizeOf, same, ONE} from '../dims';
import {typeAttr} from '../graph_def';
import type {NodeDef} from '../graph_def';
import type {GraphView, Port} from '../graph_view';
import type {Shapes} from '../shapes';

/** What every pattern works on. */
export interface Subject {
  graph: GraphView;
  shapes: Shapes;
}

export function isOp(port: Port | undefined, ...ops: string[]): port is Port {
  return port !== undefined && ops.includes(port.node.op);
}

/** The inputs of a node of one of these ops with exactly `count` data inputs. */
export function inputsOf(
  {graph}: Subject,
  port: Port | undefined,
  count: number,
  ...ops: string[]
): readonly Port[] | null {
  if (!isOp(port, ...ops)) return null;
  const inputs = graph.inputs(port.node);
  return inputs.length === count ? inputs : null;
}

export function samePort(a: Port, b: Port): boolean {
  return a.node === b.node && a.index === b.index;
}

/** Both orders of a binary op's inputs, for what commutes. */
export function eitherOrder([a, b]: readonly Port[]): Array<[Port, Port]> {
  return [
    [a, b],
    [b, a],
  ];
}

/** Ops that hand on their first input unchanged. */
export function isTransparent(node: NodeDef): boolean {
  if (node.op === 'Cast') return typeAttr(node, 'SrcT') === typeAttr(node, 'DstT');
  return ['Identity', 'StopGradient', 'PreventGradient', 'CheckNumerics', 'Snapshot'].includes(node.op);
}

/** The tensor behind any transparent ops. */
export function behind(subject: Subject, port: Port): Port {
  let current = port;
  for (let steps = 0; steps < 32 && isTransparent(current.node); steps++) {
    const input = subject.graph.input(current.node, 0);
    if (!input) break;
    current = input;
  }
  return current;
}

/** Elements of a constant tensor of any shape. */
export function constantValues(subject: Subject, port: Port | undefined): ArrayLike<number> | undefined {
  if (!port) return undefined;
  const source = behind(subject, port);
  return source.node.op === 'Const' ? subject.graph.constants.values(source.node.name) : undefined;
}

/** A tensor of one element for sure. */
export function isSingle({shapes}: Subject, port: Port): boolean {
  return shapes.of(port)?.every(dim => same(dim, ONE)) === true;
}

/** One number per batch or head for sure, none of its own for a query or key: shape […, 1, 1]. */
export function isPerHead({shapes}: Subject, port: Port): boolean {
  const shape = shapes.of(port);
  return shape !== undefined && shape.length > 2 && shape.slice(-2).every(dim => same(dim, ONE));
}

const ARITHMETIC: Record<string, (a: number, b: number) => number> = {
  Add: (a, b) => a + b, AddV2: (a, b) => a + b, Sub: (a, b) => a - b, Mul: (a, b) => a * b,
  RealDiv: (a, b) => a / b, Div: (a, b) => a / b, Pow: (a, b) => a ** b, Maximum: Math.max, Minimum: Math.min,
}; // prettier-ignore
const FUNCTIONS: Record<string, (a: number) => number> = {
  Sqrt: Math.sqrt, Rsqrt: a => 1 / Math.sqrt(a), Reciprocal: a => 1 / a, Inv: a => 1 / a, Neg: a => -a, Cast: a => a,
  Square: a => a * a, Identity: a => a, StopGradient: a => a,
}; // prettier-ignore

/** The value of a single number that constants and known sizes determine, such as 1/√d. */
export function scalarValue(subject: Subject, port: Port | undefined, depth = 8): number | undefined {
  if (!port || depth === 0) return undefined;
  if (port.node.op === 'Const') {
    const values = isSingle(subject, port) ? subject.graph.constants.values(port.node.name) : undefined;
    return values?.length === 1 ? values[0] : undefined;
  }
  const size = subject.shapes.value(port);
  if (size?.length === 1 && sizeOf(size[0]) !== undefined) return sizeOf(size[0]);
  const inputs = subject.graph.inputs(port.node);
  const values = inputs.map(input => () => scalarValue(subject, input, depth - 1));
  const unary = FUNCTIONS[port.node.op];
  const binary = ARITHMETIC[port.node.op];
  if (unary && inputs.length === 1) return mapped(values[0](), unary);
  if (binary && inputs.length === 2) {
    const a = values[0]();
    const b = a === undefined ? undefined : values[1]();
    return a === undefined || b === undefined ? undefined : binary(a, b);
  }
  return undefined;
}

function mapped(value: number | undefined, f: (a: number) => number): number | undefined {
  return value === undefined ? undefined : f(value);
}
