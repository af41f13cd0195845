/**
 * Reads mask tensors by what they mean: which of their elements depend only on where query i and key j stand. A tensor whose
 * elements with j ≤ i + offset differ from the rest is `masked`: it has one expression where the condition holds (`visible`,
 * built from the graph's own nodes without the N × N part) and one number where it does not (`hidden`).
 *
 * So (1 − causal·padding)·−1e9 is: visible (1 − padding)·−1e9, hidden −1e9.
 */
import {ONE, add, known, same, sizeOf, subtract} from '../dims';
import type {Dim} from '../dims';
import {boolAttr, typeAttr} from '../graph_def';
import type {NodeDef} from '../graph_def';
import type {Port} from '../graph_view';
import {asNumbers} from '../rule';
import {stridedSliceAxes} from '../slices';
import {calledGraph, chosenMask, lengthOverOne, switchCondition} from './branches';
import type {Functions} from './branches';
import {constantValues} from './matchers';
import type {Subject} from './matchers';
import {OTHER, asPositions, axesMoved, combined, compared, elsewhere, reachesAll, simplified} from './mask_algebra';
import type {Expression, Meaning} from './mask_algebra';
import {triangleOf} from './triangle';

const MAX_DEPTH = 40;

const UNARY: Record<string, (a: number) => number> = {
  LogicalNot: a => (a ? 0 : 1), Neg: a => -a, Identity: a => a, StopGradient: a => a, Square: a => a * a,
}; // prettier-ignore
const BINARY: Record<string, (a: number, b: number) => number> = {
  Add: (a, b) => a + b, AddV2: (a, b) => a + b, Sub: (a, b) => a - b, Mul: (a, b) => a * b,
  RealDiv: (a, b) => a / b, Maximum: Math.max, Minimum: Math.min,
  LogicalAnd: (a, b) => (a && b ? 1 : 0), LogicalOr: (a, b) => (a || b ? 1 : 0),
  Less: (a, b) => Number(a < b), LessEqual: (a, b) => Number(a <= b), Greater: (a, b) => Number(a > b),
  GreaterEqual: (a, b) => Number(a >= b), Equal: (a, b) => Number(a === b), NotEqual: (a, b) => Number(a !== b),
}; // prettier-ignore

export class Masks {
  private readonly found = new Map<string, Meaning>();

  private conditions = true;

  constructor(
    private readonly subject: Subject,
    private readonly functions: Functions = new Map(),
  ) {}

  /** The same without conditions: every mask but a constant is a tensor like any other. */
  unread(): Masks {
    const plain = new Masks(this.subject, this.functions);
    plain.conditions = false;
    return plain;
  }

  meaning(port: Port, depth = 0): Meaning {
    const before = this.found.get(port.key);
    if (before) return before;
    if (depth > MAX_DEPTH) return OTHER;
    const read = this.read(port, depth + 1);
    const meaning = read.kind === 'masked' && !this.conditions ? OTHER : read;
    this.found.set(port.key, meaning);
    return meaning;
  }

  private read(port: Port, depth: number): Meaning {
    const {graph, shapes} = this.subject;
    const {node} = port;
    const inputs = graph.inputs(node);
    const of = (i: number): Meaning => (inputs[i] ? this.meaning(inputs[i], depth) : OTHER);
    const integer = shapes.value(port);
    if (integer?.length === 1) {
      const value = sizeOf(integer[0]);
      return value !== undefined ? {kind: 'number', value} : {kind: 'positions', coefficients: new Map(), offset: integer[0]}; // prettier-ignore
    }
    if (node.op in UNARY) return this.elementwise(node, inputs, [of(0)], ([a]) => UNARY[node.op](a));
    if (node.op in BINARY) return this.alwaysVisible(port, this.binary(port, inputs, of(0), of(1)));
    switch (node.op) {
      case 'Const':
        return this.constant(port);
      case 'Cast':
        return this.cast(node, inputs, of(0));
      case 'OnesLike':
        return {kind: 'number', value: 1};
      case 'ZerosLike':
        return {kind: 'number', value: 0};
      case 'Fill':
        return of(1).kind === 'number' ? of(1) : OTHER;
      case 'Select':
      case 'SelectV2':
        return this.elementwise(node, inputs, [of(0), of(1), of(2)], ([c, a, b]) => (c ? a : b));
      case 'Range':
        return this.range(inputs);
      case 'Cumsum':
        return this.cumsum(node, inputs, of(0));
      case 'MatrixBandPart':
        return this.bandPart(inputs, of(0));
      case 'MatrixSetDiag':
      case 'MatrixSetDiagV2':
      case 'MatrixSetDiagV3':
        return this.withDiagonal(inputs, of(0));
      case 'Reshape':
      case 'ExpandDims':
      case 'Squeeze':
        return this.moved(port, inputs[0], of(0));
      case 'Tile':
      case 'BroadcastTo':
        return this.repeated(port, inputs[0], of(0));
      case 'Transpose':
        return this.transposed(inputs, of(0));
      case 'StridedSlice':
        return this.sliced(node, inputs, of(0));
      case 'Switch':
        return of(0);
      case 'If':
      case 'StatelessIf':
        return this.conditional(node, inputs);
      case 'Merge':
        return this.merged(inputs);
      case 'ConcatV2':
        return this.concatenated(inputs);
      default:
        return OTHER;
    }
  }

  /** j ≤ i + offset holds everywhere where it holds for the last key and the first query: one token after all others. */
  private alwaysVisible(port: Port, meaning: Meaning): Meaning {
    if (meaning.kind !== 'masked' || meaning.visible.kind !== 'number') return meaning;
    const hidesNothing = reachesAll(meaning.offset, this.subject.shapes.of(port)?.at(-1));
    return hidesNothing ? {kind: 'number', value: meaning.visible.value} : meaning;
  }

  private conditional(node: NodeDef, inputs: readonly Port[]): Meaning {
    const [more, one] = ['then_branch', 'else_branch'].map(name => {
      const definition = this.functions.get(node.attr?.[name]?.func?.name ?? '');
      if (!definition) return undefined;
      const {subject, result} = calledGraph(this.subject, definition, inputs.slice(1));
      return result && {meaning: new Masks(subject).meaning(result), shape: subject.shapes.of(result)};
    });
    return (more && one && chosenMask(lengthOverOne(this.subject, inputs[0]), more, one)) ?? OTHER;
  }

  private merged(inputs: readonly Port[]): Meaning {
    if (inputs.length !== 2) return OTHER;
    const branches = inputs.map(port => ({meaning: this.meaning(port), shape: this.subject.shapes.of(port)}));
    for (const n of [0, 1]) {
      const length = lengthOverOne(this.subject, switchCondition(this.subject, inputs[n].node));
      const chosen = chosenMask(length, branches[n], branches[1 - n]);
      if (chosen) return chosen;
    }
    return OTHER;
  }

  private constant(port: Port): Meaning {
    const values = constantValues(this.subject, port);
    const shape = asNumbers(this.subject.shapes.of(port));
    if (!values || !shape || values.length === 0) return OTHER;
    let uniform = true;
    for (let i = 1; uniform && i < values.length; i++) uniform = values[i] === values[0];
    if (uniform) return {kind: 'number', value: values[0]};
    const triangle = triangleOf(values, shape);
    if (triangle) {
      const {offset, below, above} = triangle;
      return {
        kind: 'masked',
        offset: known(offset),
        visible: {kind: 'number', value: below},
        hidden: above,
        as: 'number',
      };
    }
    const counts = shape[shape.length - 1] === values.length && Array.from(values).every((v, i) => v === values[0] + i);
    return counts && Number.isInteger(values[0])
      ? {kind: 'positions', coefficients: new Map([[0, 1]]), offset: known(values[0])}
      : OTHER;
  }

  private cast(node: NodeDef, inputs: readonly Port[], input: Meaning): Meaning {
    const to = typeAttr(node, 'DstT');
    if (input.kind === 'positions') return to === 'DT_BOOL' ? OTHER : input;
    const convert = (a: number): number => (to === 'DT_BOOL' ? Number(a !== 0) : to?.startsWith('DT_INT') ? Math.trunc(a) : a); // prettier-ignore
    return this.elementwise(node, inputs, [input], ([a]) => convert(a));
  }

  private binary(port: Port, inputs: readonly Port[], a: Meaning, b: Meaning): Meaning {
    const {node} = port;
    const [p, q] = [asPositions(a), asPositions(b)];
    if (p && q && (a.kind === 'positions' || b.kind === 'positions')) {
      if (node.op === 'Add' || node.op === 'AddV2' || node.op === 'Sub')
        return combined(p, q, node.op === 'Sub' ? -1 : 1);
      return compared(node.op, p, q, this.subject.shapes.of(port)?.at(-1));
    }
    return this.elementwise(node, inputs, [a, b], ([x, y]) => BINARY[node.op](x, y));
  }

  /** An op that works element by element: evaluated once where the condition holds and once where it does not. */
  private elementwise(
    node: NodeDef,
    inputs: readonly Port[],
    operands: Meaning[],
    f: (values: number[]) => number,
  ): Meaning {
    const numbers = operands.map(operand => (operand.kind === 'number' ? operand.value : undefined));
    if (numbers.every(n => n !== undefined)) return {kind: 'number', value: f(numbers)};
    const masked = operands.filter(operand => operand.kind === 'masked');
    if (masked.length === 0 || !masked.every(m => same(m.offset, masked[0].offset))) return OTHER;
    const hidden = elsewhere(node.op, operands, f);
    if (!hidden) return OTHER;
    const visibleInputs = operands.map((operand, i): Expression => {
      if (operand.kind === 'masked') return operand.visible;
      return operand.kind === 'number' ? {kind: 'number', value: operand.value, port: inputs[i]} : {kind: 'tensor', port: inputs[i]}; // prettier-ignore
    });
    return {kind: 'masked', offset: masked[0].offset, visible: simplified(node, visibleInputs, f), ...hidden};
  }

  private range(inputs: readonly Port[]): Meaning {
    const [start, , delta] = inputs.map(input => this.subject.shapes.value(input)?.[0]);
    if (!start || !delta || !same(delta, ONE)) return OTHER;
    return {kind: 'positions', coefficients: new Map([[0, 1]]), offset: start};
  }

  /** Of ones: the position, counted from 1 (or from 0 where exclusive). */
  private cumsum(node: NodeDef, inputs: readonly Port[], input: Meaning): Meaning {
    const axis = asNumbers(this.subject.shapes.value(inputs[1]))?.[0];
    const rank = this.subject.shapes.of(inputs[0])?.length;
    if (input.kind !== 'number' || input.value !== 1 || axis === undefined || boolAttr(node, 'reverse')) return OTHER;
    const fromEnd = axis < 0 ? -axis - 1 : rank === undefined ? undefined : rank - 1 - axis;
    if (fromEnd === undefined) return OTHER;
    return {
      kind: 'positions',
      coefficients: new Map([[fromEnd, 1]]),
      offset: known(boolAttr(node, 'exclusive') ? 0 : 1),
    };
  }

  /** Keeps −num_lower ≤ j − i ≤ num_upper (negative: no bound), read from the node's own inputs; the rest becomes 0. */
  private bandPart(inputs: readonly Port[], input: Meaning): Meaning {
    const [lower, upper] = [1, 2].map(i => inputs[i] && constantValues(this.subject, inputs[i])?.[0]);
    if (input.kind !== 'number' || lower === undefined || upper === undefined) return OTHER;
    const masked = (offset: number, visible: number, hidden: number): Meaning => ({
      kind: 'masked', offset: known(offset), visible: {kind: 'number', value: visible}, hidden, as: 'number',
    }); // prettier-ignore
    if (lower < 0 && upper >= 0) return masked(upper, input.value, 0);
    return lower >= 0 && upper < 0 ? masked(-lower - 1, 0, input.value) : OTHER;
  }

  /** The main diagonal set to what lies below it, as CLIP's text model does after banding. */
  private withDiagonal(inputs: readonly Port[], input: Meaning): Meaning {
    if (input.kind !== 'masked' || !inputs[1]) return OTHER;
    const diagonal = this.meaning(inputs[1]);
    const main = inputs[2] === undefined || constantValues(this.subject, inputs[2])?.[0] === 0;
    const {visible} = input;
    const extends_ = main && sizeOf(input.offset) === -1 && visible.kind === 'number' && diagonal.kind === 'number';
    return extends_ && diagonal.value === visible.value ? {...input, offset: known(0)} : OTHER;
  }

  /** Axes of size 1 come or go; positions follow their axis. */
  private moved(port: Port, source: Port | undefined, input: Meaning): Meaning {
    if (input.kind === 'number' || input.kind === 'other') return input;
    const [from, to] = [this.subject.shapes.of(source), this.subject.shapes.of(port)];
    const places = from && to && axesMoved(from, to);
    if (!places) return OTHER;
    if (input.kind === 'masked') {
      return places.get(0) === 0 && places.get(1) === 1 && input.visible.kind === 'number' ? input : this.movedMask(port, places, input); // prettier-ignore
    }
    const coefficients = new Map<number, number>();
    for (const [axis, coefficient] of input.coefficients) {
      const place = places.get(axis);
      if (place === undefined) return OTHER;
      coefficients.set(place, coefficient);
    }
    return {...input, coefficients};
  }

  /** What is visible is moved by the same op, which works for inserted axes: it does not name the sizes. */
  private movedMask(port: Port, places: ReadonlyMap<number, number>, input: Meaning & {kind: 'masked'}): Meaning {
    if (places.get(0) !== 0 || places.get(1) !== 1 || port.node.op !== 'ExpandDims') return OTHER;
    const axis = this.subject.graph.inputs(port.node)[1];
    return {...input, visible: {kind: 'op', like: port.node, inputs: [input.visible, {kind: 'tensor', port: axis}]}};
  }

  /** Repeating along an axis of size 1 is broadcasting; along others it would restart the positions. */
  private repeated(port: Port, source: Port | undefined, input: Meaning): Meaning {
    if (input.kind === 'number' || input.kind === 'other') return input;
    const [from, to] = [this.subject.shapes.of(source), this.subject.shapes.of(port)];
    if (!from || !to || to.length < from.length) return OTHER;
    const grows = (fromEnd: number): boolean => {
      const [a, b] = [from[from.length - 1 - fromEnd], to[to.length - 1 - fromEnd]];
      return !a || !same(a, b);
    };
    if (input.kind === 'masked') return !grows(0) && !grows(1) && input.visible.kind === 'number' ? input : OTHER;
    return [...input.coefficients.keys()].every(axis => !grows(axis)) ? input : OTHER;
  }

  private transposed(inputs: readonly Port[], input: Meaning): Meaning {
    if (input.kind === 'number') return input;
    const perm = asNumbers(this.subject.shapes.value(inputs[1]));
    if (input.kind !== 'positions' || !perm) return OTHER;
    const coefficients = new Map<number, number>();
    for (const [axis, coefficient] of input.coefficients) {
      coefficients.set(perm.length - 1 - perm.indexOf(perm.length - 1 - axis), coefficient);
    }
    return {...input, coefficients};
  }

  private sliced(node: NodeDef, inputs: readonly Port[], input: Meaning): Meaning {
    if (input.kind === 'number' || input.kind === 'other') return input;
    const {shapes} = this.subject;
    const shape = shapes.of(inputs[0]);
    const axes = shape && stridedSliceAxes(node, shape, shapes.value(inputs[1]), shapes.value(inputs[2]), asNumbers(shapes.value(inputs[3]))); // prettier-ignore
    if (!axes) return OTHER;
    const kept = axes.filter(({kind}) => kind !== 'drop');
    const place = new Map<number, {at: number; begin: Dim}>();
    kept.forEach(({axis, begin}, i) => place.set(shape.length - 1 - axis, {at: kept.length - 1 - i, begin}));
    if (input.kind === 'masked') {
      const [j, i] = [place.get(0), place.get(1)];
      if (j?.at !== 0 || i?.at !== 1 || input.visible.kind !== 'number') return OTHER;
      const later = add(input.offset, i.begin);
      const offset = later && subtract(later, j.begin);
      return offset ? {...input, offset} : OTHER;
    }
    let offset: Dim | null = input.offset;
    const coefficients = new Map<number, number>();
    for (const [axis, coefficient] of input.coefficients) {
      const to = place.get(axis);
      if (!to) return OTHER;
      coefficients.set(to.at, coefficient);
      for (let n = 0; offset && n < Math.abs(coefficient); n++) offset = add(offset, to.begin, Math.sign(coefficient));
    }
    return offset ? {kind: 'positions', coefficients, offset} : OTHER;
  }

  /** Columns in front that all queries may see: [visible | masked] along the keys shifts the condition. */
  private concatenated(inputs: readonly Port[]): Meaning {
    const {shapes} = this.subject;
    if (inputs.length !== 3) return OTHER;
    const [front, mask] = inputs.map(input => this.meaning(input));
    const shape = shapes.of(inputs[0]);
    const axis = asNumbers(shapes.value(inputs[2]))?.[0];
    const last = shape && (axis === -1 || axis === shape.length - 1);
    if (!last || mask.kind !== 'masked' || mask.visible.kind !== 'number' || front.kind !== 'number') return OTHER;
    const startsAtZero = sizeOf(mask.offset);
    if (front.value !== mask.visible.value || startsAtZero === undefined || startsAtZero < -1) return OTHER;
    const offset = add(mask.offset, shape[shape.length - 1]);
    return offset ? {...mask, offset} : OTHER;
  }
}
