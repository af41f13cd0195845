/**
 * Philox-4x32-10 (Salmon et al. 2011), four counters at once: counter (key >> 2, query, head, batch), key (seed, 0); word
 * key & 3 of the answer decides about a key.
 */

/** The four words of four counters; lane n of word w belongs to counter n. */
export let word0: v128 = i32x4.splat(0);
export let word1: v128 = i32x4.splat(0);
export let word2: v128 = i32x4.splat(0);
export let word3: v128 = i32x4.splat(0);

@inline
function highWords(even: v128, odd: v128): v128 {
  return v128.shuffle<i32>(even, odd, 1, 3, 5, 7);
}
@inline
function lowWords(even: v128, odd: v128): v128 {
  return v128.shuffle<i32>(even, odd, 0, 2, 4, 6);
}

export function philox(c0: v128, c1: v128, c2: v128, c3: v128, seed: u32): void {
  const m0 = i32x4.splat(0xd2511f53);
  const m1 = i32x4.splat(0xcd9e8d57);
  let k0 = seed;
  let k1: u32 = 0;
  for (let round = 0; round < 10; round++) {
    const even0 = i64x2.extmul_low_i32x4_u(c0, m0);
    const odd0 = i64x2.extmul_high_i32x4_u(c0, m0);
    const even2 = i64x2.extmul_low_i32x4_u(c2, m1);
    const odd2 = i64x2.extmul_high_i32x4_u(c2, m1);
    c0 = v128.xor(v128.xor(highWords(even2, odd2), c1), i32x4.splat(k0));
    c2 = v128.xor(v128.xor(highWords(even0, odd0), c3), i32x4.splat(k1));
    c1 = lowWords(even2, odd2);
    c3 = lowWords(even0, odd0);
    k0 += 0x9e3779b9;
    k1 += 0xbb67ae85;
  }
  word0 = c0;
  word1 = c1;
  word2 = c2;
  word3 = c3;
}
