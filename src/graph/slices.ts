/** StridedSlice read symbolically, by TensorFlow's masks. */
import {ONE, add, known, sizeOf, subtract} from './dims';
import type {Dim} from './dims';
import {intAttr} from './graph_def';
import type {NodeDef} from './graph_def';
import type {Shape} from './rule';

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
