/**
 * Shapes, and the values of the small integer tensors that shapes are computed with, inferred once over the whole graph:
 * Shape → StridedSlice → Pack → Reshape is followed symbolically (dims.ts). What an op is not known to do stays unknown, and
 * nothing is proved from it.
 */
import {symbol} from './dims';
import type {GraphView, Port} from './graph_view';
import {MAX_VALUES, asNumbers} from './rule';
import type {Context, Shape} from './rule';
import {SEVERAL_SHAPES, SHAPE_RULES} from './shape_rules';
import {VALUE_RULES} from './value_rules';

export interface Shapes {
  /** Undefined where the rank is unknown. */
  of(port: Port | undefined): Shape | undefined;
  /** An integer tensor of rank 0 or 1 as a list of its elements. */
  value(port: Port | undefined): Shape | undefined;
}

/** What is known of a graph's placeholders from outside: its caller, or the user. */
export interface Given {
  shapes?: Record<string, Shape | undefined>;
  values?: Record<string, Shape | undefined>;
  /** Keeps the symbols of one graph apart from those of another. */
  scope?: string;
}

export function inferShapes(
  graph: GraphView,
  {shapes: givenShapes = {}, values: givenValues = {}, scope = ''}: Given = {},
): Shapes {
  const shapes = new Map<string, Shape>();
  const values = new Map<string, Shape>();
  const of = (port: Port | undefined): Shape | undefined => port && shapes.get(port.key);
  const value = (port: Port | undefined): Shape | undefined => port && values.get(port.key);

  for (const [n, node] of graph.order.entries()) {
    const inputs = graph.inputs(node);
    const c: Context = {
      node, graph,
      shape: i => of(inputs[i]),
      value: i => value(inputs[i]),
      numbers: i => asNumbers(value(inputs[i])),
      unknown: axis => symbol(`${scope}${n}.${axis}`),
    }; // prettier-ignore
    const isInput = node.op.startsWith('Placeholder');
    const fixed = isInput && Object.hasOwn(givenShapes, node.name) ? givenShapes[node.name] : undefined;
    const outputs = fixed ? [fixed] : (SEVERAL_SHAPES[node.op]?.(c) ?? [SHAPE_RULES[node.op]?.(c)]);
    outputs.forEach((shape, i) => shape && shapes.set(`${node.name}:${i}`, shape));
    const result =
      isInput && Object.hasOwn(givenValues, node.name) ? givenValues[node.name] : VALUE_RULES[node.op]?.(c);
    if (!result || result.length > MAX_VALUES) continue;
    // Both outputs of a Switch are its input.
    for (let i = 0; i < (node.op === 'Switch' ? 2 : 1); i++) values.set(`${node.name}:${i}`, result);
  }
  return {of, value};
}
