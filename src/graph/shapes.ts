/**
 * Shapes, and the values of the small integer tensors that shapes are computed with, inferred once over the whole graph:
 * Shape → StridedSlice → Pack → Reshape is followed symbolically (dims.ts). What an op is not known to do stays unknown, and
 * nothing is proved from it.
 */
import {known, symbol} from './dims';
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

/** @param given shapes of placeholders by name, where the caller knows more than the graph. */
export function inferShapes(graph: GraphView, given: Record<string, readonly number[]> = {}): Shapes {
  const shapes = new Map<string, Shape>();
  const values = new Map<string, Shape>();
  const key = (port: Port): string => `${port.node.name}:${port.index}`;
  const of = (port: Port | undefined): Shape | undefined => port && shapes.get(key(port));
  const value = (port: Port | undefined): Shape | undefined => port && values.get(key(port));

  for (const [n, node] of graph.order.entries()) {
    const c: Context = {
      node, graph,
      shape: i => of(graph.input(node, i)),
      value: i => value(graph.input(node, i)),
      numbers: i => asNumbers(value(graph.input(node, i))),
      unknown: axis => symbol(`${n}.${axis}`),
    }; // prettier-ignore
    const fixed = Object.hasOwn(given, node.name) && node.op.startsWith('Placeholder') ? given[node.name] : undefined;
    const outputs = fixed ? [fixed.map(known)] : (SEVERAL_SHAPES[node.op]?.(c) ?? [SHAPE_RULES[node.op]?.(c)]);
    outputs.forEach((shape, i) => shape && shapes.set(`${node.name}:${i}`, shape));
    const result = VALUE_RULES[node.op]?.(c);
    if (result && result.length <= MAX_VALUES) values.set(`${node.name}:0`, result);
  }
  return {of, value};
}
