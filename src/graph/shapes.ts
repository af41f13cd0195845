/**
 * Shapes, and the values of the small integer tensors that shapes are computed with, inferred once over the whole graph:
 * Shape → StridedSlice → Pack → Reshape is followed symbolically (dims.ts). What an op is not known to do stays unknown, and
 * nothing is proved from it.
 */
import {ONE, add, divide, known, multiply, product, same, sizeOf, subtract, symbol} from './dims';
import type {Dim} from './dims';
import {boolAttr, intAttr, intsAttr, shapeAttr, stringAttr} from './graph_def';
import type {NodeDef} from './graph_def';
import {parseEinsum} from './einsum';
import type {GraphView, Port} from './graph_view';

export type Shape = readonly Dim[];

export interface Shapes {
  /** Undefined where the rank is unknown. */
  of(port: Port | undefined): Shape | undefined;
  /** An integer tensor of rank 0 or 1 as a list of its elements. */
  value(port: Port | undefined): Shape | undefined;
}

/** What one rule sees of its node. */
interface Context {
  node: NodeDef;
  graph: GraphView;
  shape(i: number): Shape | undefined;
  value(i: number): Shape | undefined;
  /** Constant numbers of input i. */
  numbers(i: number): number[] | undefined;
  unknown(axis: number): Dim;
}

type Rule = (c: Context) => Shape | undefined;

/** Elements of an integer tensor worth following: shapes and permutations are short. */
const MAX_VALUES = 32;

export function inferShapes(graph: GraphView): Shapes {
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
    const outputs = SEVERAL[node.op]?.(c) ?? [RULES[node.op]?.(c)];
    outputs.forEach((shape, i) => shape && shapes.set(`${node.name}:${i}`, shape));
    const result = VALUES[node.op]?.(c);
    if (result && result.length <= MAX_VALUES) values.set(`${node.name}:0`, result);
  }
  return {of, value};
}

export function asNumbers(dims: Shape | undefined): number[] | undefined {
  const numbers = dims?.map(sizeOf);
  return numbers?.every(n => n !== undefined) ? (numbers as number[]) : undefined;
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
  const parts = (dim: Dim): string[] => (/^1·\{.*\}$/.test(dim.key) ? dim.key.slice(3, -1).split('|') : [dim.key]);
  const names = [...new Set([...parts(x), ...parts(y)])].sort();
  const name = names.join('|');
  return symbol(name.length < 300 ? `{${name}}` : `{${name.length}:${hash(name)}}`);
}

function hash(text: string): string {
  let h = 0;
  for (let i = 0; i < text.length; i++) h = (Math.imul(h, 31) + text.charCodeAt(i)) | 0;
  return String(h);
}

function axisOf(axis: number | undefined, rank: number): number | undefined {
  if (axis === undefined) return undefined;
  const positive = axis < 0 ? axis + rank : axis;
  return positive >= 0 && positive < rank ? positive : undefined;
}

const first: Rule = c => c.shape(0);
const elementwise: Rule = c => broadcast(c.shape(0), c.shape(1));

const select: Rule = c => broadcast(c.shape(0), broadcast(c.shape(1), c.shape(2)));

const matMul: Rule = c => {
  const [a, b] = [c.shape(0), c.shape(1)];
  if (!a || !b || a.length < 2 || b.length < 2) return undefined;
  const [adjX, adjY] = adjoints(c.node);
  const batch = broadcast(a.slice(0, -2), b.slice(0, -2))!;
  return [...batch, a[a.length - (adjX ? 1 : 2)], b[b.length - (adjY ? 2 : 1)]];
};

/** Whether x and y of a matMul are read transposed. */
export function adjoints(node: NodeDef): [boolean, boolean] {
  return [
    boolAttr(node, 'adj_x') || boolAttr(node, 'transpose_a'),
    boolAttr(node, 'adj_y') || boolAttr(node, 'transpose_b'),
  ];
}

const einsum: Rule = c => {
  const parsed = parseEinsum(stringAttr(c.node, 'equation'));
  if (!parsed) return undefined;
  const sizes = new Map<string, Dim>();
  for (const [i, letters] of parsed.inputs.entries()) {
    const shape = c.shape(i);
    if (!shape) continue;
    if (shape.length !== letters.length) return undefined;
    [...letters].forEach((letter, axis) => {
      const size = sizes.get(letter);
      if (!size || same(size, ONE)) sizes.set(letter, shape[axis]);
    });
  }
  return [...parsed.output].map((letter, axis) => sizes.get(letter) ?? c.unknown(axis));
};

const reshape: Rule = c => {
  const target = c.value(1);
  if (!target) {
    const rank = asNumbers(c.graph.input(c.node, 1) && shapeOfVector(c));
    return rank && rank[0] <= MAX_VALUES ? Array.from({length: rank[0]}, (_, axis) => c.unknown(axis)) : undefined;
  }
  const missing = target.findIndex(dim => sizeOf(dim) === -1);
  if (missing < 0) return target;
  const total = c.shape(0) && product(c.shape(0)!);
  const rest = product(target.filter((_, i) => i !== missing));
  const size = (total && rest && divide(total, rest)) || c.unknown(missing);
  return target.map((dim, i) => (i === missing ? size : dim));
};

/** The length of the vector that a Reshape's shape is. */
function shapeOfVector(c: Context): Shape | undefined {
  const shape = c.shape(1);
  return shape?.length === 1 ? shape : undefined;
}

const reduce: Rule = c => {
  const shape = c.shape(0);
  const axes = c.numbers(1)?.map(axis => axisOf(axis, shape?.length ?? 0));
  if (!shape || !axes || axes.includes(undefined)) return undefined;
  if (boolAttr(c.node, 'keep_dims')) return shape.map((dim, i) => (axes.includes(i) ? ONE : dim));
  return shape.filter((_, i) => !axes.includes(i));
};

const concat: Rule = c => {
  const inputs = c.graph.inputs(c.node);
  const parts = inputs.slice(0, -1).map((_, i) => c.shape(i));
  const like = parts.find(part => part !== undefined);
  const axis = axisOf(c.numbers(inputs.length - 1)?.[0], like?.length ?? 0);
  if (!like || axis === undefined) return undefined;
  const total = parts.reduce<Dim | null>((sum, part) => sum && part?.[axis] ? add(sum, part[axis]) : null, known(0)); // prettier-ignore
  return like.map((dim, i) => (i === axis ? (total ?? c.unknown(i)) : dim));
};

const split =
  (dataInput: number, axisInput: number) =>
  (c: Context): Array<Shape | undefined> | undefined => {
    const shape = c.shape(dataInput);
    const axis = axisOf(c.numbers(axisInput)?.[0], shape?.length ?? 0);
    const count = intAttr(c.node, 'num_split') ?? 0;
    if (!shape || axis === undefined || count < 1 || count > 1024) return undefined;
    const sizes = dataInput === 0 ? c.value(1) : undefined;
    return Array.from({length: count}, (_, k) => {
      const part = sizes?.[k] && sizeOf(sizes[k]) !== -1 ? sizes[k] : (divide(shape[axis], known(count)) ?? undefined);
      return shape.map((dim, i) => (i === axis ? (part ?? c.unknown(k * MAX_VALUES + i)) : dim));
    });
  };

const gather: Rule = c => {
  const [data, indices] = [c.shape(0), c.shape(1)];
  const axis = c.node.op === 'Gather' ? 0 : c.numbers(2)?.[0];
  const at = axisOf(axis, data?.length ?? 0);
  if (!data || !indices || at === undefined || (intAttr(c.node, 'batch_dims') ?? 0) !== 0) return undefined;
  return [...data.slice(0, at), ...indices, ...data.slice(at + 1)];
};

/** One entry per output axis of a StridedSlice whose step is 1; null where the slice is not understood. */
export interface SliceAxis {
  kind: 'new' | 'drop' | 'keep';
  /** Input axis; −1 for 'new'. */
  axis: number;
  begin: Dim;
  size: Dim;
}

/** Reads a StridedSlice by TensorFlow's masks (StridedSlice op documentation). */
export function stridedSliceAxes(
  node: NodeDef,
  shape: Shape,
  begin: Shape | undefined,
  end: Shape | undefined,
  strides: number[] | undefined,
): SliceAxis[] | null {
  const mask = (name: string): number => intAttr(node, name) ?? 0;
  if (mask('ellipsis_mask') !== 0) return ellipsisSlice(node, shape, begin, end, strides);
  const axes: SliceAxis[] = [];
  const count = begin?.length ?? end?.length ?? strides?.length;
  if (count === undefined || (strides && strides.some(step => step !== 1))) return null;
  let axis = 0;
  for (let i = 0; i < count; i++) {
    const bit = 1 << i;
    if (mask('new_axis_mask') & bit) {
      axes.push({kind: 'new', axis: -1, begin: known(0), size: ONE});
      continue;
    }
    const size = shape[axis];
    if (!size) return null;
    const from = mask('begin_mask') & bit ? known(0) : position(begin?.[i], size);
    if (!from) return null;
    if (mask('shrink_axis_mask') & bit) {
      axes.push({kind: 'drop', axis, begin: from, size: ONE});
    } else {
      if (!strides) return null;
      const to = mask('end_mask') & bit ? size : position(end?.[i], size);
      const length = to && subtract(clampTo(to, size), from);
      if (!length) return null;
      axes.push({kind: 'keep', axis, begin: from, size: length});
    }
    axis++;
  }
  for (; axis < shape.length; axis++) axes.push({kind: 'keep', axis, begin: known(0), size: shape[axis]});
  return axes;
}

/** `x[..., a:b]`: the ellipsis is written out as whole axes. */
function ellipsisSlice(
  node: NodeDef,
  shape: Shape,
  begin: Shape | undefined,
  end: Shape | undefined,
  strides: number[] | undefined,
): SliceAxis[] | null {
  const bits = (name: string): number => intAttr(node, name) ?? 0;
  const at = Math.log2(bits('ellipsis_mask'));
  if (!Number.isInteger(at) || !begin || !end || !strides) return null;
  const newAxes = begin.filter((_, i) => bits('new_axis_mask') & (1 << i)).length;
  const gap = shape.length - (begin.length - 1 - newAxes);
  if (gap < 0 || begin.length + gap > 30) return null;
  const spread = (value: number, whole: boolean): number => {
    const low = value & ((1 << at) - 1);
    const high = (value >> (at + 1)) << (at + gap);
    return low | high | (whole ? ((1 << gap) - 1) << at : 0);
  };
  const widen = <T>(list: readonly T[], filler: T): T[] => [...list.slice(0, at), ...Array<T>(gap).fill(filler), ...list.slice(at + 1)]; // prettier-ignore
  const attr = Object.fromEntries(
    (['begin_mask', 'end_mask', 'new_axis_mask', 'shrink_axis_mask'] as const).map(name => [
      name,
      {i: spread(bits(name), name === 'begin_mask' || name === 'end_mask')},
    ]),
  );
  return stridedSliceAxes({...node, attr}, shape, widen(begin, known(0)), widen(end, known(0)), widen(strides, 1));
}

/** A begin or end as counted from the front; negative numbers count from the end. */
function position(at: Dim | undefined, size: Dim): Dim | null {
  if (!at) return null;
  const number = sizeOf(at);
  if (number !== undefined && number < 0) return add(size, at);
  const leading = [...at.terms.values()];
  return number === undefined && leading.every(c => c < 0) ? add(size, at) : at;
}

/** An end beyond the axis stops at it; only plain numbers can be compared. */
function clampTo(end: Dim, size: Dim): Dim {
  const [a, b] = [sizeOf(end), sizeOf(size)];
  return (a !== undefined && b !== undefined && a > b) || (a !== undefined && a >= 2 ** 31 - 1) ? size : end;
}

const stridedSlice: Rule = c => {
  const shape = c.shape(0);
  const axes = shape && stridedSliceAxes(c.node, shape, c.value(1), c.value(2), c.numbers(3));
  if (axes) return axes.filter(({kind}) => kind !== 'drop').map(({size}) => size);
  if (!shape || (intAttr(c.node, 'ellipsis_mask') ?? 0) !== 0) return undefined;
  return unknownSlice(c, shape);
};

/** The rank is known even where the bounds are not. */
function unknownSlice(c: Context, shape: Shape): Shape | undefined {
  const count = asNumbers(c.shape(1) ?? c.shape(2) ?? c.shape(3))?.[0];
  if (count === undefined || count > MAX_VALUES) return undefined;
  const mask = (name: string): number => intAttr(c.node, name) ?? 0;
  const out: Dim[] = [];
  let axis = 0;
  for (let i = 0; i < count; i++) {
    if (mask('new_axis_mask') & (1 << i)) out.push(ONE);
    else {
      if (!(mask('shrink_axis_mask') & (1 << i))) out.push(c.unknown(axis));
      axis++;
    }
  }
  return [...out, ...shape.slice(axis)];
}

const slice: Rule = c => {
  const [shape, begin, size] = [c.shape(0), c.value(1), c.value(2)];
  return shape?.map((dim, i) => {
    if (!size?.[i]) return c.unknown(i);
    if (sizeOf(size[i]) !== -1) return size[i];
    return (begin?.[i] && subtract(dim, begin[i])) || c.unknown(i);
  });
};

const expandDims: Rule = c => {
  const shape = c.shape(0);
  const axis = axisOf(c.numbers(1)?.[0], (shape?.length ?? 0) + 1);
  return shape && axis !== undefined ? [...shape.slice(0, axis), ONE, ...shape.slice(axis)] : undefined;
};

const squeeze: Rule = c => {
  const shape = c.shape(0);
  const axes = (intsAttr(c.node, 'squeeze_dims') ?? intsAttr(c.node, 'axis') ?? []).map(a => axisOf(a, shape?.length ?? 0)); // prettier-ignore
  if (!shape || axes.includes(undefined)) return undefined;
  if (axes.length > 0) return shape.filter((_, i) => !axes.includes(i));
  return shape.every(dim => sizeOf(dim) !== undefined) ? shape.filter(dim => !same(dim, ONE)) : undefined;
};

const pack: Rule = c => {
  const shape = c.shape(0);
  const axis = axisOf(intAttr(c.node, 'axis') ?? 0, (shape?.length ?? 0) + 1);
  if (!shape || axis === undefined) return undefined;
  return [...shape.slice(0, axis), known(c.graph.inputs(c.node).length), ...shape.slice(axis)];
};

const transpose: Rule = c => {
  const [shape, perm] = [c.shape(0), c.numbers(1)];
  if (shape && perm) return perm.length === shape.length ? perm.map((p, i) => shape[p] ?? c.unknown(i)) : undefined;
  return perm ? perm.map((_, i) => c.unknown(i)) : shape?.map((_, i) => c.unknown(i));
};

const tile: Rule = c => {
  const [shape, multiples] = [c.shape(0), c.value(1)];
  return shape?.map((dim, i) => (multiples?.[i] && multiply(dim, multiples[i])) || c.unknown(i));
};

const declared: Rule = c => shapeAttr(c.node, 'shape')?.map((size, i) => (size < 0 ? c.unknown(i) : known(size)));

const constant: Rule = c => {
  const spec = c.graph.constants.spec(c.node.name);
  return Array.isArray(spec?.shape) ? spec.shape.map(known) : undefined;
};

const range: Rule = c => {
  const [start, limit, delta] = [c.value(0)?.[0], c.value(1)?.[0], c.numbers(2)?.[0]];
  return [(delta === 1 && start && limit && subtract(limit, start)) || c.unknown(0)];
};

const likeRank =
  (rank: number): Rule =>
  c =>
    Array.from({length: rank}, (_, axis) => c.unknown(axis));

const conv2d: Rule = c => {
  const [x, filter] = [c.shape(0), c.shape(1)];
  if (x?.length !== 4 || filter?.length !== 4 || (stringAttr(c.node, 'data_format') ?? 'NHWC') !== 'NHWC') return likeRank(4)(c); // prettier-ignore
  const pointwise = same(filter[0], ONE) && same(filter[1], ONE) && (intsAttr(c.node, 'strides') ?? []).every(s => s === 1); // prettier-ignore
  return pointwise ? [x[0], x[1], x[2], filter[3]] : [x[0], c.unknown(1), c.unknown(2), filter[3]];
};

/** The shape is input i; where its values are unknown, its length still tells the rank. */
const shapedBy =
  (i: number): Rule =>
  c => {
    const rank = asNumbers(c.shape(i))?.[0];
    return c.value(i) ?? (rank !== undefined && rank <= MAX_VALUES ? likeRank(rank)(c) : undefined);
  };

function rulesFor(ops: string, rule: Rule): Record<string, Rule> {
  return Object.fromEntries(ops.split(' ').map(op => [op, rule]));
}

const RULES: Record<string, Rule> = {
  ...rulesFor(
    'Identity Cast Softmax LogSoftmax Exp Log Tanh Sigmoid Relu Relu6 Elu Selu Gelu Erf Sqrt Rsqrt Square Neg Abs Sin Cos Pow ' +
      'Reciprocal LogicalNot BiasAdd StopGradient PreventGradient MatrixBandPart Cumsum OnesLike ZerosLike Snapshot ' +
      'FusedBatchNorm FusedBatchNormV3 LeakyRelu Sign Floor Round ClipByValue Softplus CheckNumerics',
    first,
  ),
  ...rulesFor(
    'Add AddV2 Sub Mul Div RealDiv DivNoNan Maximum Minimum Pow SquaredDifference FloorDiv FloorMod Less LessEqual Greater ' +
      'GreaterEqual Equal NotEqual LogicalAnd LogicalOr',
    elementwise,
  ),
  ...rulesFor('SelectV2 Select', select),
  ...rulesFor('MatMul _FusedMatMul BatchMatMul BatchMatMulV2 BatchMatMulV3', matMul),
  ...rulesFor('Mean Sum Max Min Prod All Any', reduce),
  ...rulesFor('Concat ConcatV2', concat),
  ...rulesFor('Gather GatherV2', gather),
  ...rulesFor('Placeholder PlaceholderWithDefault', declared),
  ...rulesFor('Conv2D _FusedConv2D', conv2d),
  Einsum: einsum, Reshape: reshape, StridedSlice: stridedSlice, Slice: slice, ExpandDims: expandDims, Squeeze: squeeze,
  Pack: pack, Transpose: transpose, Tile: tile, Const: constant, Range: range,
  Fill: c => c.value(0), SparseToDense: shapedBy(1), ScatterNd: shapedBy(2), Where: likeRank(2), BroadcastTo: c => c.value(1),
  Shape: c => [c.shape(0) ? known(c.shape(0)!.length) : c.unknown(0)],
}; // prettier-ignore

const SEVERAL: Record<string, (c: Context) => Array<Shape | undefined> | undefined> = {
  Split: split(1, 0),
  SplitV: split(0, 2),
  Unpack: c => {
    const shape = c.shape(0);
    const axis = axisOf(intAttr(c.node, 'axis') ?? 0, shape?.length ?? 0);
    const count = Math.min(intAttr(c.node, 'num') ?? 0, 1024);
    return shape && axis !== undefined ? Array(count).fill(shape.filter((_, i) => i !== axis)) : undefined;
  },
};

/** Arithmetic on two integer tensors, with broadcasting of single elements. */
function arithmetic(op: (a: Dim, b: Dim) => Dim | null): Rule {
  return c => {
    const [a, b] = [c.value(0), c.value(1)];
    if (!a || !b || (a.length !== b.length && a.length !== 1 && b.length !== 1)) return undefined;
    const out = Array.from({length: Math.max(a.length, b.length)}, (_, i) => op(a[i % a.length], b[i % b.length]));
    return out.includes(null) ? undefined : (out as Dim[]);
  };
}

const valueOfFirst: Rule = c => c.value(0);

/** Rules for values are asked for tensors of rank 0 and 1 only: longer ones never enter. */
const VALUES: Record<string, Rule> = {
  Const: c => {
    const spec = c.graph.constants.spec(c.node.name);
    if (spec?.dtype !== 'int32' || !Array.isArray(spec.shape) || spec.shape.length > 1 || spec.shape[0] > MAX_VALUES) return undefined; // prettier-ignore
    const values = c.graph.constants.values(c.node.name);
    return values && Array.from(values, known);
  },
  Shape: c => c.shape(0),
  ...rulesFor('Identity Cast Squeeze ExpandDims StopGradient', c => (smallVector(c) ? c.value(0) : undefined)),
  Reshape: valueOfFirst,
  Pack: c => {
    const parts = c.graph.inputs(c.node).map((_, i) => c.value(i));
    return parts.every(part => part?.length === 1) && c.shape(0)?.length === 0 ? parts.map(part => part![0]) : undefined;
  },
  ConcatV2: c => {
    const parts = c.graph.inputs(c.node).slice(0, -1).map((_, i) => c.value(i)); // prettier-ignore
    return parts.every(part => part !== undefined) ? parts.flat() : undefined;
  },
  StridedSlice: c => {
    const value = c.value(0);
    if (!value || c.shape(0)?.length !== 1) return undefined;
    const axes = stridedSliceAxes(c.node, [known(value.length)], c.value(1), c.value(2), c.numbers(3));
    if (axes?.length !== 1) return undefined;
    const [from, size] = [sizeOf(axes[0].begin), sizeOf(axes[0].size)];
    return from === undefined || size === undefined ? undefined : value.slice(from, from + size);
  },
  Slice: c => {
    const [value, begin, size] = [c.value(0), c.numbers(1)?.[0], c.numbers(2)?.[0]];
    return value && begin !== undefined && size !== undefined ? value.slice(begin, size < 0 ? undefined : begin + size) : undefined; // prettier-ignore
  },
  GatherV2: c => {
    const [value, at] = [c.value(0), c.numbers(1)];
    const out = value && at?.map(i => value[i]);
    return out?.every(dim => dim !== undefined) ? out : undefined;
  },
  Prod: c => {
    const all = c.value(0) && product(c.value(0)!);
    return all ? [all] : undefined;
  },
  Add: arithmetic(add),
  AddV2: arithmetic(add),
  Sub: arithmetic(subtract),
  Mul: arithmetic(multiply),
  FloorDiv: arithmetic(divide),
};

/** These ops keep the elements; only the rank may change, and only between 0 and 1. */
function smallVector(c: Context): boolean {
  return (c.shape(0)?.length ?? 0) <= 1;
}
