/**
 * Sizes that are known only by name. A dimension is a polynomial with integer coefficients over symbols (`17.0` is the
 * unknown first size that node 17 brings), so that `batch · heads` divided by `heads` is `batch` again and `past + new − new`
 * is `past`: that is how a Reshape is proved to keep its last axes.
 */

/** Monomials (sorted symbols joined by '·', '' for the constant) with their coefficients; no zero coefficients. */
export interface Dim {
  readonly terms: ReadonlyMap<string, number>;
  readonly key: string;
}

/** Longer sums are given a name of their own: hostile graphs could square them forever. */
const MAX_TERMS = 8;
const MAX_KEY = 400;

function make(terms: Map<string, number>): Dim | null {
  for (const [monomial, coefficient] of terms) {
    if (coefficient === 0) terms.delete(monomial);
    else if (!Number.isSafeInteger(coefficient)) return null;
  }
  const key = [...terms].sort(([a], [b]) => (a < b ? -1 : 1)).map(([m, c]) => `${c}${m && '·'}${m}`).join('+') || '0'; // prettier-ignore
  return terms.size > MAX_TERMS || key.length > MAX_KEY ? null : {terms, key};
}

export function known(size: number): Dim {
  return {terms: new Map(size === 0 ? [] : [['', size]]), key: String(size)};
}

export function symbol(name: string): Dim {
  return {terms: new Map([[name, 1]]), key: `1·${name}`};
}

export const ONE = known(1);

/** The number, where the dimension is one. */
export function sizeOf(dim: Dim): number | undefined {
  if (dim.terms.size === 0) return 0;
  return dim.terms.size === 1 ? dim.terms.get('') : undefined;
}

export function same(a: Dim, b: Dim): boolean {
  return a.key === b.key;
}

export function sameShape(a: readonly Dim[], b: readonly Dim[]): boolean {
  return a.length === b.length && a.every((dim, i) => same(dim, b[i]));
}

export function add(a: Dim, b: Dim, factor = 1): Dim | null {
  const terms = new Map(a.terms);
  for (const [m, c] of b.terms) terms.set(m, (terms.get(m) ?? 0) + factor * c);
  return make(terms);
}

export function subtract(a: Dim, b: Dim): Dim | null {
  return add(a, b, -1);
}

export function multiply(a: Dim, b: Dim): Dim | null {
  const terms = new Map<string, number>();
  for (const [m, c] of a.terms) {
    for (const [n, d] of b.terms) {
      const product = [...split(m), ...split(n)].sort().join('·');
      terms.set(product, (terms.get(product) ?? 0) + c * d);
    }
  }
  return make(terms);
}

/** a / b where b is a single monomial that divides every term of a; null where that is not so. */
export function divide(a: Dim, b: Dim): Dim | null {
  if (b.terms.size !== 1) return same(a, b) && b.terms.size > 0 ? ONE : null;
  const [[monomial, coefficient]] = b.terms;
  const terms = new Map<string, number>();
  for (const [m, c] of a.terms) {
    const rest = split(m);
    for (const factor of split(monomial)) {
      const at = rest.indexOf(factor);
      if (at < 0) return null;
      rest.splice(at, 1);
    }
    if (c % coefficient !== 0) return null;
    terms.set(rest.join('·'), c / coefficient);
  }
  return make(terms);
}

/** True only where every value of the symbols (sizes, so ≥ 0) makes it ≥ 0. */
export function neverNegative(dim: Dim): boolean {
  return [...dim.terms.values()].every(coefficient => coefficient >= 0);
}

export function product(dims: readonly Dim[]): Dim | null {
  return dims.reduce<Dim | null>((all, dim) => all && multiply(all, dim), ONE);
}

function split(monomial: string): string[] {
  return monomial === '' ? [] : monomial.split('·');
}
