/** Reading einsum equations such as `acbe,aecd->abcd` and `...qd,...kd->...qk`. */

export interface Einsum {
  inputs: string[];
  output: string;
}

/** Stands among the letters of a term for any number of axes. */
export const ELLIPSIS = '…';

/** Null for equations without an arrow, with a letter twice in one term, or that sum over the axes of an ellipsis. */
export function parseEinsum(equation: string | undefined): Einsum | null {
  const text = (equation ?? '').replace(/\s/g, '').replaceAll('...', ELLIPSIS);
  const match = /^([a-zA-Z…,]*)->([a-zA-Z…]*)$/.exec(text);
  if (!match) return null;
  const inputs = match[1].split(',');
  const output = match[2];
  const distinct = [...inputs, output].every(term => new Set(term).size === term.length);
  const fromInputs = [...output].every(letter => inputs.some(term => term.includes(letter)));
  const keepsEllipsis = output.includes(ELLIPSIS) || !match[1].includes(ELLIPSIS);
  return distinct && fromInputs && keepsEllipsis ? {inputs, output} : null;
}

/** Letters that no equation has. */
const AXES = 0xe000;

/** A letter for each axis of the ellipses, counted from the right as they broadcast; null where the ranks do not fit or one is unknown. */
export function withoutEllipsis({inputs, output}: Einsum, ranks: ReadonlyArray<number | undefined>): Einsum | null {
  const counts = inputs.map((term, n) => (term.includes(ELLIPSIS) ? (ranks[n] ?? NaN) - (term.length - 1) : 0));
  if (!counts.every(count => count >= 0)) return null;
  const most = Math.max(...counts);
  const axes = Array.from({length: most}, (_, n) => String.fromCharCode(AXES + n)).join('');
  const filled = (term: string, count: number): string => term.replace(ELLIPSIS, axes.slice(most - count));
  return {inputs: inputs.map((term, n) => filled(term, counts[n])), output: filled(output, most)};
}
