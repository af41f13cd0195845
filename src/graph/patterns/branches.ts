/**
 * Masks that a condition on the length chooses: BART and Whisper make a causal mask where there is more than one query and
 * none where there is one. Where the other branch is the mask's visible value, and the condition only fails for lengths at
 * which the mask hides nothing, both are the causal mask.
 */
import {known, same, sizeOf} from '../dims';
import type {Dim} from '../dims';
import type {FunctionDef, NodeDef} from '../graph_def';
import {functionGraph} from '../graph_view';
import type {Port} from '../graph_view';
import type {Shape} from '../rule';
import {inferShapes} from '../shapes';
import type {Meaning} from './mask_algebra';
import type {Subject} from './matchers';

export type Functions = ReadonlyMap<string, FunctionDef>;

/** What a branch gives, and the shape of it. */
export interface Branch {
  meaning: Meaning;
  shape?: Shape;
}

/** The length L where the condition is L > 1. */
export function lengthOverOne({graph, shapes}: Subject, condition: Port | undefined): Dim | undefined {
  if (condition?.node.op !== 'Greater') return undefined;
  const [length, one] = graph.inputs(condition.node).map(port => shapes.value(port));
  return length?.length === 1 && one?.length === 1 && sizeOf(one[0]) === 1 ? length[0] : undefined;
}

/** The causal mask where the condition's failing makes no difference. */
export function chosenMask(length: Dim | undefined, more: Branch, one: Branch): Meaning | null {
  const {meaning, shape} = more;
  if (!length || meaning.kind !== 'masked' || one.meaning.kind !== 'number' || !shape) return null;
  const {visible, offset} = meaning;
  const neverHidesOne = (sizeOf(offset) ?? -1) >= 0 && same(shape[shape.length - 1] ?? known(0), length);
  return visible.kind === 'number' && visible.value === one.meaning.value && neverHidesOne ? meaning : null;
}

/** The function's graph with what the caller knows of its arguments. */
export function calledGraph(
  subject: Subject,
  definition: FunctionDef,
  inputs: readonly Port[],
): {subject: Subject; result?: Port} {
  const graph = functionGraph(definition, subject.graph.constants);
  const names = (definition.signature.inputArg ?? []).map(({name}) => name);
  const of = (read: (port: Port) => Shape | undefined) =>
    Object.fromEntries(names.map((name, n) => [name, inputs[n] && read(inputs[n])]));
  const shapes = inferShapes(graph, {
    shapes: of(port => subject.shapes.of(port)),
    values: of(port => subject.shapes.value(port)),
    scope: `${definition.signature.name.length}@${inputs[0]?.node.name.length ?? 0}/`,
  });
  const [first] = definition.signature.outputArg ?? [];
  const ref = first && definition.ret?.[first.name];
  return {subject: {graph, shapes}, result: ref === undefined ? undefined : graph.port(ref)};
}

/** The condition of the Switch that a branch of a Merge hangs on, if its branch is the true one. */
export function switchCondition({graph}: Subject, start: NodeDef): Port | undefined {
  const seen = new Set([start]);
  const queue = [start];
  for (let n = 0; n < queue.length && n < 96; n++) {
    for (const port of graph.inputs(queue[n])) {
      if (port.node.op === 'Switch') {
        if (port.index === 1) return graph.input(port.node, 1);
        continue;
      }
      if (!seen.has(port.node)) queue.push(port.node);
      seen.add(port.node);
    }
  }
  return undefined;
}
