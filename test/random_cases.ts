/**
 * Calls that nobody thought of: sizes and options drawn at random, so that they meet in ways the table has not. A seed always
 * gives the same case, in Node and in a page.
 */
import {attentionCase} from './cases';
import type {AttentionCase, BiasOption, CaseOptions, MaskOption} from './cases';
import {randomGenerator} from './inputs';

/** The case of one seed: small enough for software GPUs. */
export function randomCase(seed: number): AttentionCase {
  const next = randomGenerator(seed);
  const int = (from: number, to: number): number => from + Math.floor(next() * (to - from + 1));
  const pick = <T>(values: readonly T[]): T => values[int(0, values.length - 1)];
  const some = <T>(probability: number, make: () => T): T | undefined => (next() < probability ? make() : undefined);
  const each = <T>(n: number, make: () => T): T[] => Array.from({length: n}, make);

  const rank = pick([2, 3, 4, 4, 4] as const);
  const B = rank === 2 ? 1 : int(1, 3);
  const Hkv = rank < 4 ? 1 : int(1, 3);
  const H = rank < 4 ? 1 : Hkv * int(1, 3);
  const Sq = pick([1, 2, 3, 5, 16, 17, 31, 33, 64, 65, int(1, 100)]);
  const Sk = pick([1, 2, 4, 7, 15, 17, 32, 33, 63, 65, int(1, 200)]);
  const D = pick([1, 2, 3, 4, 5, 8, 16, 17, 33, 48, 64, 65, int(1, 160)]);
  const Dv = pick([D, D, 1, 2, 3, 7, 16, 33, 80]);
  const full = rank === 4 ? [B, H, Sq, Sk] : rank === 3 ? [B, Sq, Sk] : [Sq, Sk];
  const broadcast = (): number[] => full.map(n => pick([1, n])).slice(int(0, rank - 1));
  const segments = (n: number): number[][] => each(B, () => each(n, () => int(0, 2)));

  const options: CaseOptions = {
    causal: some(0.4, () => true),
    scale: some(0.2, () => pick([0.1, 1, -0.5, 0, 0.01])),
    queryOffset: some(0.3, () => pick([int(-20, 40), each(B, () => int(-10, 60))])),
    window: some(0.3, () => [pick([-1, 0, 1, 5, 40]), pick([-1, 0, 1, 5, 40])] as const),
    softcap: some(0.2, () => pick([0.5, 2, 30])),
    bias: some(0.3, (): BiasOption => ({
      shape: broadcast(),
      fill: pick(['normal', 'some −Infinity', 'some rows −Infinity', 'some −1e9']),
    })),
    mask: some(0.3, (): MaskOption => ({shape: broadcast(), fill: pick(['random', 'some rows none', 'all', 'none'])})),
    alibiSlopes: some(0.2, () => pick(['perHead', 'perBatchAndHead'] as const)),
    keyLengths: some(0.3, () => each(B, () => pick([0, 1, Sk, Sk + 5, -3, int(0, Sk)]))),
    segmentIds: some(0.2, () => ({query: segments(Sq), key: segments(Sk)})),
    sinks: some(0.25, () => true),
    ...some(0.2, () => ({dropout: pick([0.1, 0.5, 0.9]), seed: int(0, 2 ** 31)})),
    precision: some(0.1, () => pick(['float16', 'float16x2'] as const)),
  }; // prettier-ignore
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const layout = pick(['BHSD', 'BSHD'] as const);
  return attentionCase(`random ${seed}`, {rank, B, H, Hkv, Sq, Sk, D, Dv, layout, options: Object.fromEntries(given)});
}

/** The case in one line, for the message of its failure. */
export function describeCase({rank, B, H, Hkv, Sq, Sk, D, Dv, layout, options}: AttentionCase): string {
  return JSON.stringify({rank, B, H, Hkv, Sq, Sk, D, Dv, layout, ...options}).slice(0, 500);
}
