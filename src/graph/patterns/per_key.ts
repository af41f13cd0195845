/**
 * Masks of keys without a row per query: models repeat a padding mask for every query before they add it to the scores (BART, CLIP,
 * Mistral), which the op's broadcasting makes needless.
 */
import {ONE, same} from '../dims';
import type {Dim} from '../dims';
import {asNumbers, broadcast} from '../rule';
import type {Shape} from '../rule';
import type {Port} from '../graph_view';
import type {Expression} from './mask_algebra';
import type {Subject} from './matchers';

const MAX_DEPTH = 12;
const ELEMENTWISE = 'Cast Neg Identity StopGradient LogicalNot Add AddV2 Sub Mul RealDiv Maximum Minimum LogicalAnd LogicalOr Equal NotEqual Less LessEqual Greater GreaterEqual SelectV2'.split(' '); // prettier-ignore

/** The same for all queries: size 1 on the second last axis. */
export function isPerKey(subject: Subject, expression: Expression): boolean {
  const shape = shapeOf(subject, expression);
  return shape !== undefined && (shape.length < 2 || same(shape[shape.length - 2], ONE));
}

/** How many queries and keys the scores have. */
export interface ScoreSizes {
  queries: Dim | undefined;
  keys: Dim | undefined;
}

/** The expression with nothing repeated for every query; as it was where it has rows of its own. */
export function perKey(subject: Subject, expression: Expression, sizes: ScoreSizes): Expression {
  return unrepeated(subject, expression, sizes, 0) ?? expression;
}

function unrepeated(subject: Subject, expression: Expression, sizes: ScoreSizes, depth: number): Expression | null {
  if (isPerKey(subject, expression)) return expression;
  if (depth > MAX_DEPTH || expression.kind === 'number') return null;
  const all = (like: Port['node'], inputs: Expression[]): Expression | null => {
    const parts = inputs.map(input => unrepeated(subject, input, sizes, depth + 1));
    return parts.every(part => part !== null) ? {kind: 'op', like, inputs: parts} : null;
  };
  if (expression.kind === 'op') return ELEMENTWISE.includes(expression.like.op) ? all(expression.like, expression.inputs) : null; // prettier-ignore
  const {node} = expression.port;
  const inputs = subject.graph.inputs(node);
  const tensor = (port: Port): Expression => ({kind: 'tensor', port});
  if (ELEMENTWISE.includes(node.op)) return all(node, inputs.map(tensor)); // prettier-ignore
  if (node.op === 'Fill' && inputs[1]) return tensor(inputs[1]);
  if (node.op !== 'Tile' && node.op !== 'BroadcastTo') return null;
  const [from, to] = [subject.shapes.of(inputs[0]), subject.shapes.of(expression.port)];
  if (!from || !to || !isPerKey(subject, tensor(inputs[0]))) return null;
  const [rows, columns] = to.slice(-2);
  if (from.length !== to.length || !same(from[from.length - 1], columns)) return null;
  return repeatsNoScores(rows, columns, sizes) ? tensor(inputs[0]) : null;
}

/** A mask with more rows than there are queries would repeat the scores. A square one would repeat their columns too, for which v has no rows. */
function repeatsNoScores(rows: Dim, columns: Dim, {queries, keys}: ScoreSizes): boolean {
  if (!queries || !keys) return false;
  return same(rows, queries) || (same(rows, columns) && same(queries, keys));
}

function shapeOf(subject: Subject, expression: Expression): Shape | undefined {
  if (expression.kind === 'number') return [];
  if (expression.kind === 'tensor') return subject.shapes.of(expression.port);
  const {like, inputs} = expression;
  const [first, ...more] = inputs.map(input => shapeOf(subject, input));
  if (like.op !== 'ExpandDims') return more.reduce(broadcast, first);
  const [, at] = inputs;
  const axis = at?.kind === 'tensor' ? asNumbers(subject.shapes.value(at.port))?.[0] : undefined;
  if (!first || axis === undefined) return undefined;
  const place = axis < 0 ? first.length + 1 + axis : axis;
  return [...first.slice(0, place), ONE, ...first.slice(place)];
}
