/**
 * The axes of the tensors of one attention, named by letters as in einsum: i queries, j keys, d their width, c the values'
 * width, all other letters are batch or heads. An axis that a Reshape merged carries several letters ('bh'); one of size 1
 * that stands for nothing carries none ('').
 */
import {ONE, divide, same} from './dims';
import type {Dim} from './dims';
import type {Shape} from './rule';

export type Axes = readonly string[];
/** Stands for any number of leading batch axes where the rank is unknown. */
export const ANY = '*';

export class Letters {
  private readonly sizes = new Map<string, Dim>();
  /** Sizes before a mask was added, where that may have changed them. */
  private readonly own = new Map<string, Dim>();
  /** letter → the letters that it was split into. */
  private readonly parts = new Map<string, string>();
  private next = 0;

  fresh(size?: Dim): string {
    const letter = String.fromCharCode(0x100 + this.next++);
    if (size) this.sizes.set(letter, size);
    return letter;
  }

  /** Does it, unless that splits one of these letters: then everything is as before, and the answer undefined. */
  without<T>(whole: readonly string[], attempt: () => T | undefined): T | undefined {
    const before = new Map(this.parts);
    const result = attempt();
    if (result !== undefined && whole.every(letter => !this.parts.has(letter))) return result;
    this.parts.clear();
    before.forEach((parts, letter) => this.parts.set(letter, parts));
    return undefined;
  }

  sizeOf(letter: string): Dim | undefined {
    return this.sizes.get(letter);
  }

  /** The same axes after all splits made since they were written down. */
  current(axes: Axes): string[] {
    return axes.map(axis => [...axis].map(letter => this.expand(letter)).join(''));
  }

  /** From here on the letters have the sizes of this tensor: a mask that was added may have made the scores larger. */
  learn(axes: Axes, shape: Shape | undefined): void {
    this.current(axes).forEach((axis, n) => {
      if (axis.length !== 1 || !shape?.[n]) return;
      const before = this.sizes.get(axis);
      if (before && !this.own.has(axis)) this.own.set(axis, before);
      this.sizes.set(axis, shape[n]);
    });
  }

  private expand(letter: string): string {
    const parts = this.parts.get(letter);
    return parts === undefined ? letter : [...parts].map(part => this.expand(part)).join('');
  }

  /**
   * The letters of a tensor reshaped from one shape to another: consecutive letters are multiplied until they fill an axis,
   * and a letter that is too large is split. Undefined where the sizes do not prove it. An operand's own sizes count: an axis
   * that it shares with others may be 1 here.
   */
  regroup(axes: Axes, from: Shape | undefined, shape: Shape): string[] | undefined {
    const here = new Map<string, Dim>();
    this.current(axes).forEach((axis, n) => axis.length === 1 && from?.[n] && here.set(axis, from[n]));
    const attempt = (sized: (letter: string) => Dim | undefined): string[] | undefined =>
      this.without([], () => this.fill([...this.current(axes).join('')], shape, sized));
    // An added mask may have made an axis larger, but only by a whole factor: a Reshape that fits the smaller sizes, and runs,
    // shows that the factor is 1.
    return (
      attempt(letter => here.get(letter) ?? this.sizes.get(letter)) ??
      attempt(letter => this.own.get(letter) ?? this.sizes.get(letter))
    );
  }

  private fill(queue: string[], shape: Shape, sized: (letter: string) => Dim | undefined): string[] | undefined {
    const groups: string[] = [];
    for (const target of shape) {
      let group = '';
      let missing: Dim = target;
      while (!same(missing, ONE)) {
        const letter = queue.shift();
        const size = letter !== undefined ? sized(letter) : undefined;
        if (letter === undefined || !size) return undefined;
        const rest = divide(missing, size);
        if (rest) {
          group += letter;
          missing = rest;
          continue;
        }
        const over = divide(size, missing);
        if (!over) return undefined;
        const [front, back] = [this.fresh(missing), this.fresh(over)];
        this.parts.set(letter, front + back);
        group += front;
        queue.unshift(back);
        missing = ONE;
      }
      if (group === '' && queue.length > 0 && isOne(sized(queue[0]))) group = queue.shift()!;
      groups.push(group);
    }
    if (queue.some(letter => !isOne(sized(letter)))) return undefined;
    if (queue.length > 0 && groups.length > 0) groups[groups.length - 1] += queue.join('');
    return this.current(groups);
  }
}

function isOne(size: Dim | undefined): boolean {
  return size !== undefined && same(size, ONE);
}

export function hasAny(axes: Axes): boolean {
  return axes[0] === ANY;
}

/** Axes in the order of a Transpose's output; undefined where the ranks do not fit. */
export function permuted(axes: Axes, perm: readonly number[]): string[] | undefined {
  const expanded = withRank(axes, perm.length);
  return expanded && perm.every(p => expanded[p] !== undefined) ? perm.map(p => expanded[p]) : undefined;
}

/** The axes that a Transpose's input has where its output has these. */
export function unpermuted(axes: Axes, perm: readonly number[]): string[] | undefined {
  const expanded = withRank(axes, perm.length);
  if (!expanded || new Set(perm).size !== perm.length || perm.some(p => p < 0 || p >= perm.length)) return undefined;
  const out: string[] = [];
  perm.forEach((p, i) => (out[p] = expanded[i]));
  return out;
}

function withRank(axes: Axes, rank: number): Axes | undefined {
  return !hasAny(axes) && axes.length === rank ? axes : undefined;
}
