/** What shape rules are made of, and numpy's broadcasting. */
import {ONE, same, sizeOf, symbol} from './dims';
import type {Dim} from './dims';
import type {NodeDef} from './graph_def';
import {boolAttr} from './graph_def';
import type {GraphView} from './graph_view';

export type Shape = readonly Dim[];

/** What one rule sees of its node. */
export interface Context {
  node: NodeDef;
  graph: GraphView;
  shape(i: number): Shape | undefined;
  value(i: number): Shape | undefined;
  /** Constant numbers of input i. */
  numbers(i: number): number[] | undefined;
  unknown(axis: number): Dim;
}

export type Rule = (c: Context) => Shape | undefined;

/** Elements of an integer tensor worth following: shapes and permutations are short. */
export const MAX_VALUES = 32;

export function asNumbers(dims: Shape | undefined): number[] | undefined {
  const numbers = dims?.map(sizeOf);
  return numbers?.every(n => n !== undefined) ? numbers : undefined;
}

/** numpy's rule; sizes that may differ give a size named after both. */
export function broadcast(a: Shape | undefined, b: Shape | undefined): Shape | undefined {
  if (!a || !b) return undefined;
  const rank = Math.max(a.length, b.length);
  return Array.from({length: rank}, (_, i) => {
    const x = a[i - rank + a.length] ?? ONE;
    const y = b[i - rank + b.length] ?? ONE;
    if (same(x, y) || same(y, ONE)) return x;
    if (same(x, ONE)) return y;
    if (sizeOf(x) !== undefined) return x;
    if (sizeOf(y) !== undefined) return y;
    return either(x, y);
  });
}

/** x and y are equal, or one of them is 1: the same name in whatever order and however often they met. */
function either(x: Dim, y: Dim): Dim {
  // '·' would make the name look like a product.
  const parts = (dim: Dim): string[] =>
    /^1·\{[^·]*\}$/.test(dim.key) ? dim.key.slice(3, -1).split('|') : [dim.key.replaceAll('·', '*')];
  const names = [...new Set([...parts(x), ...parts(y)])].sort();
  const name = names.join('|');
  return symbol(name.length < 300 ? `{${name}}` : `{${name.length}:${hash(name)}}`);
}

function hash(text: string): string {
  let h = 0;
  for (let i = 0; i < text.length; i++) h = (Math.imul(h, 31) + text.charCodeAt(i)) | 0;
  return String(h);
}

/** Counted from the front; undefined where there is no such axis. */
export function axisOf(axis: number | undefined, rank: number): number | undefined {
  if (axis === undefined) return undefined;
  const positive = axis < 0 ? axis + rank : axis;
  return positive >= 0 && positive < rank ? positive : undefined;
}

/** Whether x and y of a matMul are read transposed. */
export function adjoints(node: NodeDef): [boolean, boolean] {
  return [
    boolAttr(node, 'adj_x') || boolAttr(node, 'transpose_a'),
    boolAttr(node, 'adj_y') || boolAttr(node, 'transpose_b'),
  ];
}

/** The same rule for several ops. */
export function rulesFor(ops: string, rule: Rule): Record<string, Rule> {
  return Object.fromEntries(ops.split(' ').map(op => [op, rule]));
}
