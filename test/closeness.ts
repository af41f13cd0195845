/**
 * How near is near enough, for every test: NaN must meet NaN, an infinity the same infinity, and numbers stay within the
 * contract's allowance. (tfjs's own `expectArraysClose` holds NaN equal to Infinity.)
 */

export interface Deviation {
  /** Flat index of the worst element; −1 for empty arrays. */
  index: number;
  /** |actual − expected|; Infinity where one is NaN or infinite and the other is not the same. */
  error: number;
}

/** The worst element. Throws when the lengths differ. */
export function worstDeviation(actual: ArrayLike<number>, expected: ArrayLike<number>): Deviation {
  if (actual.length !== expected.length) throw new Error(`${actual.length} elements, expected ${expected.length}`);
  let worst: Deviation = {index: -1, error: -1};
  for (let index = 0; index < expected.length; index++) {
    const error = deviation(actual[index], expected[index]);
    if (error > worst.error) worst = {index, error};
  }
  return worst.index < 0 ? {index: -1, error: 0} : worst;
}

function deviation(actual: number, expected: number): number {
  if (Object.is(actual, expected) || actual === expected) return 0;
  const error = Math.abs(actual - expected);
  return Number.isFinite(error) ? error : Infinity;
}

/** max(1, the largest finite size of the reference). */
export function magnitude(expected: ArrayLike<number>): number {
  let max = 1;
  for (let i = 0; i < expected.length; i++) {
    const size = Math.abs(expected[i]);
    if (size > max && size < Infinity) max = size;
  }
  return max;
}

export type ToleranceKind = 'output' | 'gradient';

/**
 * The contract's allowance.
 * @param chain the same tensor from plain float32 tfjs ops; where they fail themselves (NaN, overflow) they allow nothing.
 * @param floor factor of the absolute term, where a precision has its own.
 */
export function allowance(
  kind: ToleranceKind,
  chain: ArrayLike<number>,
  expected: ArrayLike<number>,
  floor = kind === 'output' ? 4e-6 : 2e-5,
): number {
  const {error} = worstDeviation(chain, expected);
  const ofChain = Number.isFinite(error) ? (kind === 'output' ? 2 : 3) * error : 0;
  return ofChain + floor * magnitude(expected);
}

/** Throws, naming the worst element, unless every element is within `allowed` of the reference. */
export function expectClose(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: number,
  shape?: readonly number[],
): void {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: ${actual.length} elements where the reference has ${expected.length}`);
  }
  const {index, error} = worstDeviation(actual, expected);
  if (!(error <= allowed)) {
    throw new Error(
      `${what}${place(index, shape)} is ${actual[index]}, reference ${expected[index]}; ` +
        `error ${error.toExponential(2)}, allowed ${allowed.toExponential(2)}`,
    );
  }
}

/** Throws unless both hold the same bits (any NaN counts as any other). */
export function expectSameBits(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  shape?: readonly number[],
): void {
  if (actual.length !== expected.length)
    throw new Error(`${what}: ${actual.length} elements, expected ${expected.length}`);
  for (let index = 0; index < expected.length; index++) {
    if (!Object.is(actual[index], expected[index])) {
      throw new Error(
        `${what}${place(index, shape)} is ${actual[index]}, expected the same bits as ${expected[index]}`,
      );
    }
  }
}

/** [b,h,i,…] of a flat index. */
function place(index: number, shape?: readonly number[]): string {
  if (index < 0 || !shape) return `[${index}]`;
  const indices: number[] = [];
  let rest = index;
  for (const size of [...shape].reverse()) {
    indices.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return `[${indices}]`;
}
