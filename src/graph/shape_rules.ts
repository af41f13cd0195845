/** The shape that each op gives, by the shapes and values of its inputs. */
import {ONE, add, divide, known, multiply, product, same, sizeOf, subtract} from './dims';
import type {Dim} from './dims';
import {parseEinsum, withoutEllipsis} from './einsum';
import {boolAttr, intAttr, intsAttr, shapeAttr, stringAttr} from './graph_def';
import {MAX_VALUES, adjoints, asNumbers, axisOf, broadcast, rulesFor} from './rule';
import type {Context, Rule, Shape} from './rule';
import {stridedSliceAxes} from './slices';

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

const einsum: Rule = c => {
  const equation = parseEinsum(stringAttr(c.node, 'equation'));
  const ranks = equation?.inputs.map((_, i) => c.shape(i)?.length);
  const parsed = equation && withoutEllipsis(equation, ranks!);
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

export const SHAPE_RULES: Record<string, Rule> = {
  ...rulesFor(
    'Identity Cast Softmax LogSoftmax Exp Log Tanh Sigmoid Relu Relu6 Elu Selu Gelu Erf Sqrt Rsqrt Square Neg Abs Sin Cos Pow ' +
      'Reciprocal LogicalNot BiasAdd StopGradient PreventGradient MatrixBandPart MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 Cumsum OnesLike ZerosLike Snapshot ' +
      'FusedBatchNorm FusedBatchNormV3 LeakyRelu Sign IsFinite IsInf IsNan Log1p Expm1 Inv Round Ceil Rint Floor ClipByValue Softplus CheckNumerics',
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

/** Ops with several outputs. */
export const SEVERAL_SHAPES: Record<string, (c: Context) => Array<Shape | undefined> | undefined> = {
  Split: split(1, 0),
  SplitV: split(0, 2),
  Switch: c => [c.shape(0), c.shape(0)],
  Unpack: c => {
    const shape = c.shape(0);
    const axis = axisOf(intAttr(c.node, 'axis') ?? 0, shape?.length ?? 0);
    const count = Math.min(intAttr(c.node, 'num') ?? 0, 1024);
    return shape && axis !== undefined ? Array(count).fill(shape.filter((_, i) => i !== axis)) : undefined;
  },
};
