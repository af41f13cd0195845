/** A text as numbers: its characters, batches of it, and the seeded choices of training and generation. */

export interface CharText {
  /** The characters in use, sorted; a token is a place in this list. */
  alphabet: string[];
  tokens: number[];
}

export function charText(text: string): CharText {
  const alphabet = [...new Set(text)].sort();
  const place = new Map(alphabet.map((char, n) => [char, n]));
  return {alphabet, tokens: [...text].map(char => place.get(char)!)};
}

/** Uniform numbers in [0, 1) from an integer seed (mulberry32). */
export function randomGenerator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Pieces of T characters and, for each place, the character that follows. */
export function takeBatch(
  tokens: number[],
  count: number,
  T: number,
  random: () => number,
): {inputs: number[][]; targets: number[][]} {
  const starts = Array.from({length: count}, () => Math.floor(random() * (tokens.length - T)));
  return {
    inputs: starts.map(start => tokens.slice(start, start + T)),
    targets: starts.map(start => tokens.slice(start + 1, start + T + 1)),
  };
}
