/**
 * Philox-4x32-10, the counter-based generator that says which probabilities dropout drops: no state, so every backend and
 * the backward pass find the same set. Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), §4.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;

/** High 32 bits of the 64-bit product of two uint32, by 16-bit halves. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const middleLow = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(middleLow / 65536)) >>> 0;
}

/** Writes the four uint32 words of the counter (c0, c1, c2, c3) under the key (key, 0) to `words`. */
export function philox(key: number, c0: number, c1: number, c2: number, c3: number, words: Uint32Array): void {
  let key0 = key >>> 0;
  let key1 = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0 >>> 0);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2 >>> 0);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 = (key0 + WEYL_0) | 0;
    key1 = (key1 + WEYL_1) | 0;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

/** A probability is dropped iff its word is below this: floor(p · 2³²). */
export function dropThreshold(dropout: number): number {
  return Math.floor(dropout * 2 ** 32);
}

/**
 * Reads whether the probabilities of one row are kept: `keeps(j)` for rising j costs one Philox call per four keys.
 * @param b, h, i batch, query head and query of the row.
 */
export function keptInRow(seed: number, dropout: number, b: number, h: number, i: number): (j: number) => boolean {
  const words = new Uint32Array(4);
  const threshold = dropThreshold(dropout);
  let group = -1;
  return j => {
    if (j >> 2 !== group) {
      group = j >> 2;
      philox(seed, group, i, h, b, words);
    }
    return words[j & 3] >= threshold;
  };
}
