/**
 * Runs a FlashAttention node: brings the tensors that its equation describes into the op's layout. The equation is einsum's
 * with einops's parentheses for merged axes: `b(gr)id,bgjd,bgjc->bi(gr)c` is grouped-query attention with merged query heads.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {FlashAttentionOptions} from '../op/arguments';

type Layout = 'BHSD' | 'BSHD';

/** Axis groups: letters of one axis; '' for an axis of size 1. */
type Groups = string[];

export interface AttentionCall {
  q: Groups;
  k: Groups;
  v: Groups;
  output: Groups;
  /** The scores' axes as masks meet them; the last two are queries and keys. */
  scores: Groups;
  sizes: Map<string, number>;
}

export interface AttentionTensors {
  q: tf.Tensor;
  k: tf.Tensor;
  v: tf.Tensor;
  bias?: tf.Tensor;
  /** True keeps a key. */
  mask?: tf.Tensor;
  /** Multiplies the scores: one number per head, that is size 1 for queries and keys. */
  factor?: tf.Tensor;
}

export type Attend = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, options: FlashAttentionOptions) => tf.Tensor;

/** @throws Error where a file holds an equation that is none. */
export function parseCall(equation: string, scores: string, sizes: string): AttentionCall {
  const [inputs, output] = equation.split('->');
  const [q, k, v] = (inputs ?? '').split(',').map(groupsOf);
  if (!q || !k || !v || output === undefined) throw new Error(`'${equation}' is no equation of attention`);
  const pairs = sizes === '' ? [] : sizes.split(',').map(pair => pair.split('='));
  return {
    q, k, v, output: groupsOf(output), scores: groupsOf(scores),
    sizes: new Map(pairs.map(([letter, size]) => [letter, Number(size)])),
  }; // prettier-ignore
}

/** What an equation of two operands says of its result's shape; axes of size 1 meet larger ones. */
export function shapeOf(equation: string, ...operands: tf.Tensor[]): number[] {
  const [inputs, output] = equation.split('->');
  const sizes = new Map<string, number>();
  inputs.split(',').forEach((term, n) => groupsOf(term).forEach((letter, axis) => sizes.set(letter, Math.max(sizes.get(letter) ?? 1, operands[n].shape[axis])))); // prettier-ignore
  return groupsOf(output).map(letter => sizes.get(letter) ?? 1);
}

function groupsOf(term: string): Groups {
  return [...term.matchAll(/\(([a-z]+)\)|([a-z*1])/g)].map(([, merged, one]) => merged ?? (one === '1' ? '' : one));
}

/** A tensor whose axes are one letter each. */
interface Named {
  x: tf.Tensor;
  letters: string;
}

export function runAttention(
  attend: Attend,
  call: AttentionCall,
  tensors: AttentionTensors,
  options: FlashAttentionOptions,
): tf.Tensor {
  const {q: q0, k: k0, v: v0, output, scores} = withBatch(call, tensors);
  const sizes = new Map(call.sizes);
  const plain = apart(tensors.q, q0, sizes);
  const k = apart(tensors.k, k0, sizes);
  const v = apart(tensors.v, v0, sizes);
  const [i, j] = scores.slice(-2);
  const batch = scores.slice(0, -2).flatMap(group => [...group]);
  const ofScores = [...batch, i, j];
  const d = [...plain.letters].find(letter => k.letters.includes(letter) && !ofScores.includes(letter))!;
  const c = [...v.letters].find(letter => !ofScores.includes(letter))!;
  const size = new Map<string, number>();
  for (const {x, letters} of [k, v, plain]) [...letters].forEach((letter, axis) => size.set(letter, Math.max(size.get(letter) ?? 1, x.shape[axis]))); // prettier-ignore
  const bias = tensors.bias && axesApart(tensors.bias, scores, size);
  const mask = tensors.mask && axesApart(tensors.mask, scores, size);
  const factor = tensors.factor && axesApart(tensors.factor, scores, size);
  const q = factor ? scaled(plain, factor, ofScores) : plain;
  for (const x of [bias, mask, factor]) {
    x?.shape.forEach((n, axis) => {
      const letter = ofScores[ofScores.length - x.rank + axis];
      size.set(letter, Math.max(size.get(letter) ?? 1, n));
    });
  }
  const has = (named: Named, letter: string): boolean => named.letters.includes(letter) && named.x.shape[named.letters.indexOf(letter)] === size.get(letter); // prettier-ignore

  // Heads that share a key head must be the innermost batch axes: those are the letters that k and v lack.
  let inner = batch.length;
  while (inner > 0 && !has(k, batch[inner - 1]) && !has(v, batch[inner - 1])) inner--;
  const shared = batch.slice(inner);
  const innerHeads = shared.length === 0 || inner > 1 ? 1 : 0;
  const heads = batch.length > 1 || shared.length > 0 ? batch.slice(inner - innerHeads) : [];
  const outer = batch.slice(0, batch.length - heads.length);
  const keyHeads = heads.filter(letter => !shared.includes(letter));

  const orders: Record<Layout, (h: string[], row: string, width: string) => string> = {
    BHSD: (h, row, width) => [...outer, ...h, row, width].join(''),
    BSHD: (h, row, width) => [...outer, row, ...h, width].join(''),
  };
  const mismatches = (layout: Layout): number => {
    const order = orders[layout];
    const wanted = [order(heads, i, d), order(keyHeads, j, d), order(keyHeads, j, c), order(heads, i, c)];
    return [q.letters, k.letters, v.letters, output.join('')].filter((letters, n) => letters !== wanted[n]).length;
  };
  const layout: Layout = heads.length > 0 && mismatches('BSHD') < mismatches('BHSD') ? 'BSHD' : 'BHSD';
  const order = orders[layout];
  const rank4 = outer.length > 0 || heads.length > 0;

  const arranged = (named: Named, h: string[], row: string, width: string): tf.Tensor => {
    const x = inOrder(named, order(h, row, width), size);
    if (!rank4) return x;
    const count = (letters: string[]): number => letters.reduce((n, letter) => n * size.get(letter)!, 1);
    const [B, H, S, W] = [count(outer), count(h), size.get(row)!, size.get(width)!];
    if (heads.length === 0) return reshaped(x, [B, S, W]);
    return reshaped(x, layout === 'BHSD' ? [B, H, S, W] : [B, S, H, W]);
  };
  const scoreGroups = heads.length > 0 ? [outer, heads, [i], [j]] : outer.length > 0 ? [outer, [i], [j]] : [[i], [j]];
  const aligned = (x: tf.Tensor): tf.Tensor => alignedToScores(x, ofScores, scoreGroups, size);
  const result = attend(arranged(q, heads, i, d), arranged(k, keyHeads, j, d), arranged(v, keyHeads, j, c), {
    ...options,
    ...(heads.length > 0 && {layout}),
    ...(bias && {bias: aligned(bias)}),
    ...(mask && {mask: aligned(mask)}),
  });
  const natural = order(heads, i, c);
  const separate = reshaped(
    result,
    [...natural].map(letter => size.get(letter)!),
  );
  return together(inOrder({x: separate, letters: natural}, output.join(''), size), output, size);
}

/**
 * '*' written out as letters by the ranks that the tensors turn out to have; all batch axes are shared, from the right. A bias or mask of
 * more axes than the scores gives the scores, and so the output, these axes, too.
 */
function withBatch(call: AttentionCall, {q, k, v, bias, mask}: AttentionTensors): Omit<AttentionCall, 'sizes'> {
  const extra = [q, k, v].map(({rank}, n) => rank - ([call.q, call.k, call.v][n].length - 1));
  const most = Array.from('bhefgmnopqrs').slice(0, Math.max(0, ...extra));
  const fill = (groups: Groups, count: number): Groups =>
    groups.flatMap(group => (group === '*' ? most.slice(most.length - count) : [group]));
  const scores = fill(call.scores, most.length);
  const raised = Array.from('uvwxyz').slice(
    0,
    Math.max(0, (bias?.rank ?? 0) - scores.length, (mask?.rank ?? 0) - scores.length),
  );
  return {
    q: fill(call.q, extra[0]), k: fill(call.k, extra[1]), v: fill(call.v, extra[2]),
    output: [...raised, ...fill(call.output, most.length)], scores: [...raised, ...scores],
  }; // prettier-ignore
}

/** Splits merged axes, with at most one letter of unknown size in each. */
function apart(x: tf.Tensor, groups: Groups, sizes: Map<string, number>): Named {
  if (groups.length !== x.rank)
    throw new Error(`FlashAttention expects rank ${groups.length}, but got shape [${x.shape}]`);
  groups.forEach((group, axis) => {
    if (group.length === 1 && x.shape[axis] !== 1) sizes.set(group, x.shape[axis]);
  });
  const shape = groups.flatMap((group, axis) => {
    const open = [...group].filter(letter => !sizes.has(letter));
    const rest = [...group].reduce((n, letter) => n / (sizes.get(letter) ?? 1), x.shape[axis]);
    if (open.length === 1) sizes.set(open[0], rest);
    return group.length === 1 ? [x.shape[axis]] : [...group].map(letter => sizes.get(letter) ?? 1);
  });
  return {x: shape.length === x.rank ? x : reshaped(x, shape), letters: groups.join('')};
}

/** A bias or mask with merged axes of the scores taken apart; where it has size 1 there, it has size 1 in each. */
function axesApart(x: tf.Tensor, scores: Groups, size: ReadonlyMap<string, number>): tf.Tensor {
  const groups = scores.slice(scores.length - x.rank);
  const shape = groups.flatMap((group, axis) =>
    group.length === 1 ? [x.shape[axis]] : [...group].map(letter => (x.shape[axis] === 1 ? 1 : size.get(letter)!)),
  );
  return reshaped(x, shape);
}

/** q times a factor with the scores' axes, which may have heads that q has not. */
function scaled({x, letters}: Named, factor: tf.Tensor, ofScores: string[]): Named {
  const ofFactor = ofScores.slice(ofScores.length - factor.rank);
  const at = (letter: string): number => factor.shape[ofFactor.indexOf(letter)] ?? 1;
  const more = ofFactor.filter(letter => !letters.includes(letter) && at(letter) !== 1);
  const all = [...more, ...letters];
  const moved = tf.transpose(
    factor,
    all.flatMap(letter => (ofFactor.includes(letter) ? [ofFactor.indexOf(letter)] : [])).concat(ofFactor.flatMap((letter, axis) => (all.includes(letter) ? [] : [axis]))),
  ); // prettier-ignore
  return {
    x: tf.mul(reshaped(x, [...more.map(() => 1), ...x.shape]), reshaped(moved, all.map(at))),
    letters: all.join(''),
  };
}

/** Transposed to this order of letters; letters that the tensor lacks are repeated, those that it has too many have size 1. */
function inOrder(named: Named, order: string, size: ReadonlyMap<string, number>): tf.Tensor {
  const {x, letters} = without(named, letter => !order.includes(letter));
  const missing = [...order].filter(letter => !letters.includes(letter));
  const all = missing.join('') + letters;
  const full = missing.length > 0 ? reshaped(x, [...missing.map(() => 1), ...x.shape]) : x;
  const perm = [...order].map(letter => all.indexOf(letter));
  const moved = perm.every((p, axis) => p === axis) ? full : tf.transpose(full, perm);
  const target = [...order].map(letter => size.get(letter)!);
  return moved.shape.every((n, axis) => n === target[axis]) ? moved : tf.broadcastTo(moved, target);
}

function without({x, letters}: Named, isNeedless: (letter: string) => boolean): Named {
  const kept = [...letters].filter(letter => !isNeedless(letter));
  return {x: reshaped(x, kept.map(letter => x.shape[letters.indexOf(letter)])), letters: kept.join('')}; // prettier-ignore
}

function together(x: tf.Tensor, groups: Groups, size: ReadonlyMap<string, number>): tf.Tensor {
  if (groups.every(group => group.length === 1)) return x;
  return reshaped(
    x,
    groups.map(group => [...group].reduce((n, letter) => n * size.get(letter)!, 1)),
  );
}

/** A bias or mask that broadcasts to the scores, with the scores' axes merged as the op has them. */
function alignedToScores(
  x: tf.Tensor,
  letters: string[],
  groups: string[][],
  size: ReadonlyMap<string, number>,
): tf.Tensor {
  const shape = [...Array<number>(Math.max(0, letters.length - x.rank)).fill(1), ...x.shape];
  const at = (letter: string): number => shape[letters.indexOf(letter)];
  const repeats = (group: string[]): boolean => group.some(letter => at(letter) !== 1) && group.some(letter => at(letter) !== size.get(letter)); // prettier-ignore
  const partly = groups.filter(repeats).flat();
  const full = partly.length === 0 ? x : tf.broadcastTo(reshaped(x, shape), letters.map(letter => (partly.includes(letter) ? size.get(letter)! : at(letter)))); // prettier-ignore
  const whole = partly.length === 0 ? shape : full.shape;
  return reshaped(
    full,
    groups.map(group => group.reduce((n, letter) => n * whole[letters.indexOf(letter)], 1)),
  );
}

/** A Reshape node of its own is only worth it where the shape changes. */
function reshaped(x: tf.Tensor, shape: number[]): tf.Tensor {
  return x.rank === shape.length && x.shape.every((n, axis) => n === shape[axis]) ? x : tf.reshape(x, shape);
}
