/** Every op that multiplies two tensors and sums over a shared axis, as one form: einsum letters. */
import {ANY} from '../axes';
import type {Axes, Letters} from '../axes';
import {ELLIPSIS, parseEinsum, withoutEllipsis} from '../einsum';
import {stringAttr, stringsAttr} from '../graph_def';
import type {NodeDef} from '../graph_def';
import {outputOf} from '../graph_view';
import type {Port} from '../graph_view';
import {adjoints} from '../rule';
import type {Subject} from './matchers';

export interface Contraction {
  node: NodeDef;
  inputs: readonly [Port, Port];
  axes: readonly [Axes, Axes];
  output: Axes;
}

const MATMULS = ['MatMul', '_FusedMatMul', 'BatchMatMul', 'BatchMatMulV2', 'BatchMatMulV3'];

export function isContraction(node: NodeDef): boolean {
  if (node.op === '_FusedMatMul') return (stringsAttr(node, 'fused_ops') ?? []).length === 0;
  return MATMULS.includes(node.op) || node.op === 'Einsum';
}

/** The two operands and the result of a product with letters for its axes; null where it is none, or not understood. */
export function contraction({graph, shapes}: Subject, node: NodeDef, letters: Letters): Contraction | null {
  const [x, y, ...more] = graph.inputs(node);
  if (!isContraction(node) || !x || !y || more.length > 0) return null;
  const [rankX, rankY] = [shapes.of(x)?.length, shapes.of(y)?.length];
  const found = node.op === 'Einsum' ? einsumAxes(node, rankX, rankY) : matMulAxes(node, rankX, rankY);
  if (!found) return null;
  const named = renamed(found, letters, [shapes.of(x), shapes.of(y), shapes.of(outputOf(node))]);
  return {node, inputs: [x, y], axes: [named[0], named[1]], output: named[2]};
}

function einsumAxes(node: NodeDef, rankX?: number, rankY?: number): string[][] | null {
  const equation = parseEinsum(stringAttr(node, 'equation'));
  if (equation?.inputs.length !== 2) return null;
  const terms = withoutEllipsis(equation, [rankX, rankY]);
  if (terms) return [...terms.inputs, terms.output].map(term => [...term]);
  // Of unknown rank: leading axes that all three have are batch axes, whatever their number.
  const all = [...equation.inputs, equation.output];
  return all.every(term => term.startsWith(ELLIPSIS)) ? all.map(term => [ANY, ...term.slice(1)]) : null;
}

/** Batch axes are matched from the right, as BatchMatMulV2 broadcasts them. */
function matMulAxes(node: NodeDef, rankX?: number, rankY?: number): string[][] | null {
  const [adjX, adjY] = adjoints(node);
  const rank2 = node.op === 'MatMul' || node.op === '_FusedMatMul';
  const [x, y] = rank2 ? [2, 2] : [rankX, rankY];
  if ((x !== undefined && x < 2) || (y !== undefined && y < 2)) return null;
  const unknown = x === undefined || y === undefined;
  const batch = unknown ? [ANY] : Array.from({length: Math.max(x, y) - 2}, (_, i) => `${i}`);
  const batchOf = (r: number | undefined): string[] => (unknown ? batch : batch.slice(batch.length - (r! - 2)));
  return [
    [...batchOf(x), ...(adjX ? ['k', 'r'] : ['r', 'k'])],
    [...batchOf(y), ...(adjY ? ['n', 'k'] : ['k', 'n'])],
    [...batch, 'r', 'n'],
  ];
}

/** The same axes with letters that occur nowhere else, and their sizes where one of the tensors tells. */
function renamed(terms: string[][], letters: Letters, sizes: Array<ReturnType<Subject['shapes']['of']>>): string[][] {
  const names = new Map<string, string>([[ANY, ANY]]);
  const order = [2, 0, 1];
  for (const t of order) {
    terms[t].forEach((name, axis) => {
      if (!names.has(name)) names.set(name, letters.fresh(sizes[t]?.[axis]));
    });
  }
  return terms.map(term => term.map(name => names.get(name)!));
}
