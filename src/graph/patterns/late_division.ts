/** exp(s − max s) v / Σ exp(s − max s): the division comes after the product with v, as in FlashAttention (Dao et al. 2022, algorithm 1). */
import {permuted} from '../axes';
import type {Axes, Letters} from '../axes';
import type {NodeDef} from '../graph_def';
import {outputOf} from '../graph_view';
import type {Port} from '../graph_view';
import {asNumbers} from '../rule';
import {behind, eitherOrder, inputsOf, isTransparent} from './matchers';
import type {Subject} from './matchers';
import {NotFused} from './scores';
import {isSumOf} from './softmax';
import type {SoftmaxMatch} from './softmax';
import type {ValueProduct} from './values';

export interface Divided {
  /** The division: what the attention ends with. */
  node: NodeDef;
  axes: Axes;
  /** From the product with v on to the division. */
  absorbed: NodeDef[];
}

const MAX_STEPS = 6;

/** Follows the product to its division by the sum of the exponentials, whose axes are the scores' without the keys. */
export function lateDivision(
  subject: Subject,
  softmax: SoftmaxMatch,
  softmaxAxes: Axes,
  product: ValueProduct,
  letters: Letters,
): Divided | NotFused {
  const {graph} = subject;
  const ofSum = [...letters.current(softmaxAxes).slice(0, -1), ''];
  const absorbed: NodeDef[] = [];
  let axes: Axes = letters.current(product.output);
  for (let node = product.node, n = 0; n < MAX_STEPS; n++) {
    const readers: readonly NodeDef[] = graph.consumers(node);
    const [reader] = readers;
    if (readers.length !== 1 || graph.outputs.has(node.name)) break;
    absorbed.push(node);
    const divisor = divisorOf(subject, reader, node);
    if (divisor) {
      const from = sumAxes(subject, divisor, softmax, ofSum);
      if (from && isDividedBy(axes, from, product, letters)) return {node: reader, axes, absorbed};
      break;
    }
    const perm = reader.op === 'Transpose' ? asNumbers(subject.shapes.value(graph.input(reader, 1))) : undefined;
    const next: Axes | undefined = isTransparent(reader) ? axes : perm && permuted(axes, perm);
    if (!next || graph.input(reader, 0)?.node !== node) break;
    axes = next;
    node = reader;
  }
  return new NotFused(`the product '${product.node.name}' of the exponentials is not divided by their sum`);
}

/** What a node divides this one by. */
function divisorOf(subject: Subject, node: NodeDef, numerator: NodeDef): Port | null {
  const quotient = inputsOf(subject, outputOf(node), 2, 'RealDiv', 'Div', 'DivNoNan');
  if (quotient) return quotient[0].node === numerator && quotient[1].node !== numerator ? quotient[1] : null;
  const factors = inputsOf(subject, outputOf(node), 2, 'Mul');
  const other = factors && eitherOrder(factors).find(([a, b]) => a.node === numerator && b.node !== numerator)?.[1];
  return (other && inputsOf(subject, behind(subject, other), 1, 'Reciprocal', 'Inv')?.[0]) ?? null;
}

/** The axes of the sum of the exponentials, which Transposes may have moved. */
function sumAxes(subject: Subject, divisor: Port, softmax: SoftmaxMatch, ofSum: Axes): Axes | null {
  const perms: number[][] = [];
  let port = behind(subject, divisor);
  for (let n = 0; n < MAX_STEPS && port.node.op === 'Transpose'; n++) {
    const [x, perm] = subject.graph.inputs(port.node);
    const numbers = asNumbers(subject.shapes.value(perm));
    if (!x || !numbers) return null;
    perms.unshift(numbers);
    port = behind(subject, x);
  }
  if (!isSumOf(subject, port, softmax)) return null;
  return perms.reduce<Axes | undefined>((axes, perm) => axes && permuted(axes, perm), ofSum) ?? null;
}

/** Row by row: the same axes, but for the values' width, for which the sum has size 1; leading ones may be missing. */
function isDividedBy(axes: Axes, sum: Axes, {probabilityAxes}: ValueProduct, letters: Letters): boolean {
  const ofProbabilities = letters.current(probabilityAxes).join('');
  const last = axes.slice(axes.length - sum.length);
  return sum.length <= axes.length && last.every((axis, n) => (sum[n] === '' ? axis.length === 1 && !ofProbabilities.includes(axis) : axis === sum[n])); // prettier-ignore
}
