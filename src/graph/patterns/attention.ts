/**
 * softmax(scale · q kᵀ + bias) v, put together from the smaller patterns: softmax form, way down to the product with v, way up
 * to the product of q and k, operands. What cannot be proved ends in a reason.
 */
import {ANY, Letters, hasAny} from '../axes';
import type {Axes} from '../axes';
import {neverNegative, same, sizeOf, subtract} from '../dims';
import type {Dim} from '../dims';
import type {NodeDef} from '../graph_def';
import {outputOf} from '../graph_view';
import type {Port} from '../graph_view';
import {RowsWithoutKey} from './ahead';
import type {Ahead} from './ahead';
import type {Bounds} from './bounds';
import type {Contraction} from './contraction';
import type {Masks} from './masks';
import {lateDivision} from './late_division';
import type {Subject} from './matchers';
import {peel, staticSizes} from './operands';
import type {Operand} from './operands';
import {readScores} from './readings';
import type {Scores} from './readings';
import {NotFused, scorePath} from './scores';
import type {BiasTerm, Keep, ScorePath} from './scores';
import type {SoftmaxMatch} from './softmax';
import {movedAxes, valueProduct, wayToProduct} from './values';

/** Batch, query heads, key heads, queries, keys, width of q and k, width of v. */
export interface Extents {
  B: number;
  H: number;
  Hkv: number;
  Sq: number;
  Sk: number;
  D: number;
  Dv: number;
}

export interface Attention {
  pattern: string;
  /** The node whose place the op takes: its name and its readers stay. */
  root: NodeDef;
  softmax: NodeDef;
  /** Nodes that must not be needed any more: they hold scores or probabilities. */
  interior: NodeDef[];
  /** Those of them whose shape is that of the product of q and k, and its axes; empty where q and k do not show all their sizes. */
  shapedAsProduct: NodeDef[];
  productAxes: Axes;
  q: Operand;
  k: Operand;
  v: Operand;
  /** Batch axes in the order of the scores, whose last two axes are i and j; one that masks meet merged has several letters. */
  batch: Axes;
  i: string;
  j: string;
  d: string;
  c: string;
  output: Axes;
  sizes: Map<string, number>;
  /** All sizes as numbers, where they are known. */
  extents?: Extents;
  scale: number;
  softcap: number;
  /** Multiplications and divisions by a number of the run, to be done to q. */
  factors: Scores['factors'];
  /** The same by one number per head. */
  perHead: Scores['perHead'];
  bias: BiasTerm[];
  keep: Keep[];
  /** Hidden places have exactly −∞, not a large negative number. */
  keepIsExact: boolean;
  /** Key j is visible iff j ≤ i + offset; 'end' is the number of keys minus the number of queries. */
  causal: number | 'end' | null;
  ahead?: Ahead;
}

/** What all sites of a graph share. */
export interface Knowledge {
  subject: Subject;
  masks: Masks;
  bounds: Bounds;
}

/** Null where the softmax has nothing to do with attention (a classifier's, say). */
export function matchAttention(known: Knowledge, softmax: SoftmaxMatch): Attention | NotFused | null {
  const match = matchWith(known, softmax);
  if (!(match instanceof UnknownOffset || match instanceof RowsWithoutKey)) return match;
  // A causal mask that cannot be told in the op's words is still right as an input.
  const unread = matchWith({...known, masks: known.masks.unread()}, softmax);
  return unread instanceof NotFused ? match : unread;
}

class UnknownOffset extends NotFused {}

function matchWith({subject, masks, bounds}: Knowledge, softmax: SoftmaxMatch): Attention | NotFused | null {
  const found = wayToProduct(subject, softmax.node);
  if (!found) return null;
  const dividesLate = softmax.form === 'exp-matmul-div';
  if ('obstacle' in found) {
    if (dividesLate) return null;
    const {op, name} = found.obstacle;
    return new NotFused(`between the softmax and a product stands ${op} '${name}'`);
  }
  const letters = new Letters();
  const path = scorePath(subject, softmax.logits, letters);
  if (path instanceof NotFused) return path;
  const scores = readScores(subject, masks, bounds, path.steps, path.product.output, letters);
  if (scores instanceof NotFused) return scores;

  const values = valueProduct(subject, found.way, scores.axes, letters, softmax.node);
  if (values instanceof NotFused) return values;
  const divided = dividesLate ? lateDivision(subject, softmax, scores.axes, values, letters) : null;
  if (divided instanceof NotFused) return divided;
  const roles = readRoles(path.product, scores, values.vAxes, values.output, letters);
  if (roles instanceof NotFused) return roles;

  const {qAt} = roles;
  const whole = [roles.i, roles.j, roles.d, roles.c];
  const operand = (port: Port, axes: Axes, factors: boolean): Operand =>
    peel(subject, {port, axes, factor: 1}, letters, whole, factors);
  const q = operand(path.product.inputs[qAt], path.product.axes[qAt], true);
  const k = operand(path.product.inputs[1 - qAt], path.product.axes[1 - qAt], true);
  const v = operand(values.v, values.vAxes, false);
  const {node: last, axes: lastAxes} = divided ?? {node: values.node, axes: values.output};
  const end = extendOutput(subject, last, letters.current(lastAxes), letters, whole);

  const now = (axes: Axes): string[] => letters.current(axes);
  const operands = [q, k, v].map(each => ({...each, axes: now(each.axes)}));
  const output = now(end.axes);
  const sizes = staticSizes([...operands.map(({axes}) => axes), output], letters);
  if (!sizes) return new NotFused('merged batch and head axes have no known size to take them apart by');
  const batch = now(roles.batch);
  if ([...operands[0].axes, ...batch].some(axis => axis.length > 1) && hasAny(batch)) {
    return new NotFused('the rank of the scores is unknown');
  }
  const causal = scores.causal ? causalOffset(scores.causal, roles, letters, subject, path.product) : null;
  if (causal instanceof NotFused) return causal;

  const interior = new Set([path.product.node, ...path.steps.map(step => step.node), softmax.node, ...values.between]);
  for (const node of [...(divided?.absorbed ?? []), ...end.absorbed]) interior.add(node);
  interior.delete(end.root);
  const {tanhInner} = scores;
  const factor = q.factor * k.factor;
  const outer = scores.scale;
  if (tanhInner !== null && !(outer > 0)) return new NotFused(`the Tanh of the scores is scaled by ${outer}`);
  if (!Number.isFinite(outer * factor * (tanhInner ?? 1)))
    return new NotFused('the scores are scaled by a number that is not finite');
  const productAxes = now(path.product.output);
  return {
    shapedAsProduct: showAll([operands[0].axes, operands[1].axes], productAxes) ? unchangedShape(path) : [], productAxes,
    pattern: patternName(softmax, path.product, values.node), root: end.root, softmax: softmax.node, interior: [...interior],
    q: operands[0], k: operands[1], v: operands[2], batch,
    i: roles.i, j: roles.j, d: roles.d, c: roles.c, output, sizes,
    scale: tanhInner === null ? outer * factor : outer * factor * tanhInner,
    softcap: tanhInner === null ? 0 : outer,
    factors: scores.factors, perHead: scores.perHead, bias: scores.bias, keep: scores.keep, keepIsExact: scores.keepIsExact, causal, ahead: scores.ahead,
    extents: extentsOf(batch, roles, operands[1].axes, letters),
  }; // prettier-ignore
}

/** Whether each axis is one of an operand's, by itself. */
function showAll(operands: Axes[], axes: Axes): boolean {
  return axes.every(axis => axis.length === 1 && axis !== ANY && operands.some(operand => operand.includes(axis)));
}

/** Up to the first step that may give the scores another shape. */
function unchangedShape({product, steps}: ScorePath): NodeDef[] {
  const end = steps.findIndex(({kind}) => kind !== 'same' && kind !== 'scale' && kind !== 'tanh');
  return [product.node, ...steps.slice(0, end < 0 ? undefined : end).map(({node}) => node)];
}

function patternName({form}: SoftmaxMatch, scores: Contraction, values: NodeDef): string {
  return `${scores.node.op} → ${form} → ${values.op}`;
}

interface Roles {
  qAt: 0 | 1;
  batch: Axes;
  i: string;
  j: string;
  d: string;
  c: string;
}

/** Which letter is what, by where it occurs. */
function readRoles(
  product: Contraction,
  scores: Scores,
  vAxes: Axes,
  outAxes: Axes,
  letters: Letters,
): Roles | NotFused {
  const {maskAxes} = scores;
  const now = (axes: Axes): string[] => letters.current(axes);
  const flat = (axes: Axes): string[] => now(axes).flatMap(axis => [...axis]);
  const logits = now(scores.axes);
  const j = logits[logits.length - 1];
  if (j?.length !== 1) return new NotFused('the softmax is taken over several axes at once');
  const [left, right] = product.axes.map(flat);
  if (left.includes(j) === right.includes(j))
    return new NotFused('the softmax is over an axis that is not the keys of one operand');
  const qAt = left.includes(j) ? 1 : 0;
  const [q, k] = qAt === 0 ? [left, right] : [right, left];
  const [v, out] = [flat(vAxes), flat(outAxes)];
  if (!v.includes(j) || out.includes(j))
    return new NotFused('the softmax is over another axis than the one that the product with v sums over');

  const all = flat(product.output);
  const summed = q.filter(letter => letter !== '*' && !all.includes(letter));
  if (summed.length !== 1 || !k.includes(summed[0])) return new NotFused('the scores sum over more than one axis');
  const d = summed[0];
  const c = v.filter(letter => !all.includes(letter));
  if (c.length !== 1 || !out.includes(c[0])) return new NotFused('v has more than one axis of its own');

  const order = now(maskAxes ?? product.output).flatMap(axis => [...axis]);
  const rest = order.filter(letter => letter !== j);
  const ofQueries = rest.filter(letter => letter !== '*' && !k.includes(letter) && !v.includes(letter));
  const i = maskAxes ? rest[rest.length - 1] : ofQueries[ofQueries.length - 1];
  if (i === undefined || i === '*' || !ofQueries.includes(i))
    return new NotFused('no axis belongs to the queries alone');
  if (maskAxes && order[order.length - 1] !== j)
    return new NotFused('the masked scores have their keys not on the last axis');
  if (!q.includes(i)) return new NotFused('no axis belongs to the queries alone');
  const batch = rest.filter(letter => letter !== i);
  const missing = [...batch, i].find(letter => !out.includes(letter));
  if (missing !== undefined) return new NotFused('the product with v sums over a batch or head axis too');
  return {qAt, batch, i, j, d, c: c[0]};
}

/** Takes over transposes and splits behind the product when nobody else reads it, so that the op writes the final order. */
function extendOutput(
  subject: Subject,
  product: NodeDef,
  axes: Axes,
  letters: Letters,
  whole: readonly string[],
): {root: NodeDef; axes: Axes; absorbed: NodeDef[]} {
  const {graph} = subject;
  let best = {root: product, axes, absorbed: [] as NodeDef[]};
  let node = product;
  let current: Axes = axes;
  const passed: NodeDef[] = [];
  for (let n = 0; n < 4; n++) {
    const readers = graph.consumers(node);
    if (readers.length !== 1 || graph.outputs.has(node.name) || readers[0].input?.[0] !== node.name) break;
    const [reader] = readers;
    if (reader.op !== 'Transpose' && reader.op !== 'Reshape') break;
    const before = current;
    const next = letters.without(whole, () => movedAxes(subject, reader, before, letters) ?? undefined);
    if (!next) break;
    passed.push(node);
    node = reader;
    current = next;
    if (reader.op === 'Transpose' && letters.current(next).every(axis => axis.length === 1)) {
      best = {root: reader, axes: next, absorbed: [...passed]};
    }
  }
  return best;
}

function causalOffset(
  offset: Dim,
  roles: Roles,
  letters: Letters,
  {shapes}: Subject,
  product: Contraction,
): number | 'end' | NotFused {
  const axes = letters.current(product.output);
  const shape = shapes.of(outputOf(product.node));
  const size = (letter: string): Dim | undefined => letters.sizeOf(letter) ?? shape?.[axes.indexOf(letter)];
  const [queries, keys] = [size(roles.i), size(roles.j)];
  if (!neverNegative(offset)) return new UnknownOffset('a causal mask may leave the first queries without any key');
  const number = sizeOf(offset);
  if (number === 0 && queries && keys && same(queries, keys)) return 'end';
  if (number !== undefined) return number;
  const difference = queries && keys && subtract(keys, queries);
  if (difference && same(difference, offset)) return 'end';
  return new UnknownOffset('how far the causal mask is shifted is not known before the model runs');
}

/** Undefined unless every size is a number. */
function extentsOf(batch: Axes, {i, j, d, c}: Roles, kAxes: Axes, letters: Letters): Extents | undefined {
  const size = (letter: string): number => {
    const dim = letters.sizeOf(letter);
    return (dim && sizeOf(dim)) ?? NaN;
  };
  const all = batch.flatMap(axis => [...axis]);
  const heads = all.length > 1 ? all.slice(1) : [];
  const count = (list: string[]): number => list.reduce((n, letter) => n * size(letter), 1);
  const keyLetters = kAxes.join('');
  const extents = {
    B: count(all.slice(0, 1)), H: count(heads), Hkv: count(heads.filter(letter => keyLetters.includes(letter))),
    Sq: size(i), Sk: size(j), D: size(d), Dv: size(c),
  }; // prettier-ignore
  return Object.values(extents).every(Number.isFinite) ? extents : undefined;
}
