/**
 * What the scores are where a causal mask hides them. Models lower them there by a large number: in a row in which another mask
 * lowers every key that the causal mask leaves, that number counts, and the row is a softmax over what both lower.
 */
import type {Bounds} from './bounds';
import type {Elsewhere, Expression} from './mask_algebra';
import type {Subject} from './matchers';
import {isPerKey} from './per_key';
import {NotFused} from './scores';
import type {BiasTerm, Keep} from './scores';

/** The scores ahead of a query: value, plus the product of q and k where `scores`, plus the bias where `bias`. */
export interface Ahead {
  value: number;
  scores: boolean;
  bias: boolean;
}

/** A causal mask and others that may leave a row without a key, in a combination that only the model's own mask says. */
export class RowsWithoutKey extends NotFused {}

/** Follows the steps from the product to the softmax. */
export class HiddenScores {
  private value = 0;
  private scores = true;
  private isKnown = true;
  /** Terms of the bias that are added ahead of the queries, too. */
  private terms = new Set<BiasTerm>();
  private chosenBy?: Keep;

  scale(factor: number): void {
    this.value *= factor;
  }

  /** Multiplied by 0. */
  zero(): void {
    this.scores = false;
  }

  /** A causal mask was added: `visible` is what it adds elsewhere, if anything. */
  addMask({hidden, as}: Elsewhere, sign: number, visible: Expression, term: BiasTerm | undefined): void {
    this.value += sign * (as === 'number' && visible.kind === 'number' ? hidden - visible.value : hidden);
    if (as === 'more' && term) this.terms.add(term);
    if (as === 'about') this.isKnown = false;
  }

  addBias(term: BiasTerm): void {
    this.terms.add(term);
  }

  /** A choice put `fill` there, and where `keep` says so. */
  fill(fill: number, keep: Keep | undefined): void {
    this.value = fill;
    this.scores = false;
    this.terms.clear();
    this.chosenBy = keep;
  }

  /** Undefined where the causal mask can simply hide, since nothing else can lower a whole row as much. */
  ahead(
    subject: Subject,
    bounds: Bounds,
    bias: readonly BiasTerm[],
    keep: readonly Keep[],
  ): Ahead | undefined | RowsWithoutKey {
    // prettier-ignore
    const lowers = bias.some(term => !(lowest(bounds, term) > this.value / 2));
    if (this.value === -Infinity || (!lowers && keep.length === 0)) return undefined;
    const added = bias.filter(term => this.terms.has(term)).length;
    const isPlain = keep.length === 0 ? added === 0 || added === bias.length : keep.length === 1 && keep[0] === this.chosenBy && bias.length === 0; // prettier-ignore
    const ofKeys = [...bias, ...keep].every(({expression}) => isPerKey(subject, expression));
    if (this.isKnown && isPlain && ofKeys) return {value: this.value, scores: this.scores, bias: added > 0};
    return new RowsWithoutKey('a row may see no key, and what its masks then add up to cannot be told by the op');
  }
}

function lowest(bounds: Bounds, {expression, negative, scaledBy}: BiasTerm): number {
  const {low, high} = bounds.ofExpression(expression);
  return scaledBy.reduce((value, {factor}) => value * factor, negative ? -high : low);
}
