/** Recognises a constant that has one value where j ≤ i + offset and another elsewhere, such as GPT-2's buffer of ones. */

export interface Triangle {
  offset: number;
  below: number;
  above: number;
}

/** All matrices of the constant (its last two axes) must be the same triangle. */
export function triangleOf(values: ArrayLike<number>, shape: readonly number[]): Triangle | null {
  const [rows, columns] = shape.slice(-2);
  if (shape.length < 2 || rows < 2 || columns < 2) return null;
  const below = values[0];
  let width = 1;
  while (width < columns && values[width] === below) width++;
  // The first row has keys 0 … width − 1 below: offset = width − 1, and the value beside them is the other one.
  const above = width < columns ? values[width] : NaN;
  if (Number.isNaN(above)) return null;
  const offset = width - 1;
  for (let n = 0; n < values.length; n++) {
    const i = Math.floor(n / columns) % rows;
    const j = n % columns;
    if (values[n] !== (j <= i + offset ? below : above)) return null;
  }
  return {offset, below, above};
}
