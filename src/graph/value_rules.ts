/** The elements of integer tensors of rank 0 and 1, symbolically: what shapes are computed with. */
import {add, divide, known, multiply, product, sizeOf, subtract} from './dims';
import type {Dim} from './dims';
import {MAX_VALUES, rulesFor} from './rule';
import type {Context, Rule} from './rule';
import {stridedSliceAxes} from './slices';

/** Arithmetic on two integer tensors, with broadcasting of single elements. */
function arithmetic(op: (a: Dim, b: Dim) => Dim | null): Rule {
  return c => {
    const [a, b] = [c.value(0), c.value(1)];
    if (!a?.length || !b?.length || (a.length !== b.length && a.length !== 1 && b.length !== 1)) return undefined;
    const out = Array.from({length: Math.max(a.length, b.length)}, (_, i) => op(a[i % a.length], b[i % b.length]));
    return out.includes(null) ? undefined : (out as Dim[]);
  };
}

const valueOfFirst: Rule = c => c.value(0);

/** Rules for values are asked for tensors of rank 0 and 1 only: longer ones never enter. */
export const VALUE_RULES: Record<string, Rule> = {
  Const: c => {
    const spec = c.graph.constants.spec(c.node.name);
    if (spec?.dtype !== 'int32' || !Array.isArray(spec.shape) || spec.shape.length > 1 || spec.shape[0] > MAX_VALUES) return undefined; // prettier-ignore
    const values = c.graph.constants.values(c.node.name);
    return values && Array.from(values, known);
  },
  Shape: c => c.shape(0),
  ...rulesFor('Identity Cast Squeeze ExpandDims StopGradient', c => (smallVector(c) ? c.value(0) : undefined)),
  Reshape: valueOfFirst,
  Switch: valueOfFirst,
  Pack: c => {
    const parts = c.graph.inputs(c.node).map((_, i) => c.value(i));
    return parts.every(part => part?.length === 1) && c.shape(0)?.length === 0
      ? parts.map(part => part![0])
      : undefined;
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
