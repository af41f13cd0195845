/** The way from the probabilities to their product with v, and on to where the result takes its final order of axes. */
import {hasAny, permuted} from '../axes';
import type {Axes, Letters} from '../axes';
import type {NodeDef} from '../graph_def';
import {outputOf} from '../graph_view';
import type {Port} from '../graph_view';
import {asNumbers} from '../rule';
import {contraction, isContraction} from './contraction';
import {isTransparent} from './matchers';
import type {Subject} from './matchers';
import {NotFused} from './scores';

export interface ValueProduct {
  node: NodeDef;
  v: Port;
  /** The probabilities' axes as the product reads them, then those of v and of the product. */
  probabilityAxes: Axes;
  vAxes: Axes;
  output: Axes;
  /** Nodes between softmax and product. */
  between: NodeDef[];
}

const MAX_DEPTH = 8;
const MAX_SEEN = 64;

/** The nodes from the softmax to a product of the probabilities; or what stands in the way of one that comes soon after. */
export function wayToProduct(subject: Subject, softmax: NodeDef): {way: NodeDef[]} | {obstacle: NodeDef} | null {
  const direct = search(subject, softmax, MAX_DEPTH, isOnTheWay);
  if (direct) return {way: direct};
  const detour = search(subject, softmax, 4, () => true);
  const obstacle = detour?.find(node => !isOnTheWay(node) && !isContraction(node));
  return obstacle ? {obstacle} : null;
}

/** Breadth first, so that the nearest product is found; each node is seen once. */
function search(
  {graph}: Subject,
  start: NodeDef,
  maxDepth: number,
  passes: (node: NodeDef) => boolean,
): NodeDef[] | null {
  const cameFrom = new Map<NodeDef, NodeDef | null>([[start, null]]);
  let front = [start];
  for (let depth = 0; depth < maxDepth && front.length > 0 && cameFrom.size < MAX_SEEN; depth++) {
    const next: NodeDef[] = [];
    for (const node of front) {
      for (const reader of graph.consumers(node)) {
        const operand = graph.inputs(reader).findIndex(port => port.node === node);
        if (operand < 0 || cameFrom.has(reader)) continue;
        cameFrom.set(reader, node);
        if (isContraction(reader)) return trace(cameFrom, reader);
        if (reader.op !== 'Shape' && passes(reader)) next.push(reader);
      }
    }
    front = next;
  }
  return null;
}

function trace(cameFrom: ReadonlyMap<NodeDef, NodeDef | null>, end: NodeDef): NodeDef[] {
  const way: NodeDef[] = [];
  for (let node: NodeDef | null = end; node && cameFrom.get(node); node = cameFrom.get(node)!) way.unshift(node);
  return way;
}

function isOnTheWay(node: NodeDef): boolean {
  return isTransparent(node) || ['Transpose', 'Reshape', 'ExpandDims', 'Squeeze'].includes(node.op);
}

/** Follows the probabilities, whose axes at the softmax are known, to the product at the end of the way. */
export function valueProduct(
  subject: Subject,
  way: NodeDef[],
  softmaxAxes: Axes,
  letters: Letters,
  softmax: NodeDef,
): ValueProduct | NotFused {
  let axes: Axes = softmaxAxes;
  let from = softmax;
  const between = way.slice(0, -1);
  for (const node of between) {
    const next = movedAxes(subject, node, axes, letters);
    if (!next)
      return new NotFused(`the ${node.op} '${node.name}' behind the softmax cannot be proved to keep the axes`);
    axes = next;
    from = node;
  }
  const node = way[way.length - 1];
  const product = contraction(subject, node, letters);
  if (!product) return new NotFused(`the product '${node.name}' with the probabilities is not understood`);
  const at = product.inputs.findIndex(port => port.node === from);
  const names = unify(product.axes[at], letters.current(axes));
  if (!names) return new NotFused(`the product '${node.name}' does not read the probabilities by their axes`);
  const renamed = (list: Axes): string[] => list.map(axis => names.get(axis) ?? axis);
  return {
    node, v: product.inputs[1 - at], between,
    probabilityAxes: renamed(product.axes[at]), vAxes: renamed(product.axes[1 - at]), output: renamed(product.output),
  }; // prettier-ignore
}

/** Letters of the product's operand → letters of the probabilities, axis by axis. */
function unify(operand: Axes, axes: Axes): Map<string, string> | null {
  if (hasAny(operand) !== hasAny(axes)) {
    // Only one side knows the rank: the named batch axes stay in order, which is what '*' means.
    return null;
  }
  if (operand.length !== axes.length) return null;
  return new Map(operand.map((axis, i) => [axis, axes[i]]));
}

/** The axes behind a node that only moves, merges or splits them. */
export function movedAxes({graph, shapes}: Subject, node: NodeDef, axes: Axes, letters: Letters): Axes | null {
  if (isTransparent(node)) return axes;
  if (node.op === 'Transpose') {
    const perm = asNumbers(shapes.value(graph.input(node, 1)));
    return (perm && permuted(axes, perm)) ?? null;
  }
  const shape = shapes.of(outputOf(node));
  return (shape && !hasAny(axes) ? letters.regroup(axes, shapes.of(graph.input(node, 0)), shape) : null) ?? null;
}
