/** Reading einsum equations such as `acbe,aecd->abcd`. */

export interface Einsum {
  inputs: string[];
  output: string;
}

/** Null for equations with an ellipsis, without an arrow, or with a letter twice in one term. */
export function parseEinsum(equation: string | undefined): Einsum | null {
  const match = /^([a-zA-Z,]*)->([a-zA-Z]*)$/.exec((equation ?? '').replace(/\s/g, ''));
  if (!match) return null;
  const inputs = match[1].split(',');
  const output = match[2];
  const distinct = [...inputs, output].every(term => new Set(term).size === term.length);
  const fromInputs = [...output].every(letter => inputs.some(term => term.includes(letter)));
  return distinct && fromInputs ? {inputs, output} : null;
}
