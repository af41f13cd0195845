/**
 * What one call is to the tests: a record that serves as test case, gradient case, support question and benchmark case alike.
 *
 * B batch, H query heads, Hkv key/value heads, Sq queries, Sk keys, D query/key width, Dv value width. Options that are tensors
 * are written as how to fill them; inputs.ts makes the numbers from the case's seed.
 */
import type {Layout, NumberOptions} from '../kernels/options';

export interface BiasOption {
  /** Broadcasts to the scores of the case's rank. */
  shape: number[];
  /** Standard normal numbers, with these places overwritten. */
  fill:
    | 'normal'
    | 'some −Infinity'
    | 'some −1e9'
    | 'some 3e38'
    | 'some rows −Infinity'
    | 'some rows −1e9'
    | 'some rows lowest'
    | 'everywhere −1e9'
    | 'everywhere lowest';
}

export interface MaskOption {
  shape: number[];
  fill: 'random' | 'some rows none' | 'all' | 'none';
}

export interface CaseOptions extends Omit<NumberOptions, 'layout' | 'queryOffset'> {
  /** A list is the int32 tensor [B]. */
  queryOffset?: number | number[];
  bias?: BiasOption;
  mask?: MaskOption;
  alibiSlopes?: 'perHead' | 'perBatchAndHead';
  keyLengths?: number[];
  segmentIds?: {query: number[][]; key: number[][]};
  sinks?: boolean;
}

export interface Sizes {
  B: number;
  H: number;
  Hkv: number;
  Sq: number;
  Sk: number;
  D: number;
  Dv: number;
}

export interface AttentionCase extends Sizes {
  /** Unique in the table. */
  name: string;
  rank: 2 | 3 | 4;
  layout: Layout;
  options: CaseOptions;
  /** Of the generator of the data. */
  seed: number;
  /** q and k are this times standard normal numbers. */
  qkFactor: number;
  /** The reference rounds score + bias to float32, as the contract's uniform row under −1e9 needs. */
  float32Bias: boolean;
  /** 'finite' where a row is one-hot by rounding alone, so that only finiteness of the gradients can be asked for. */
  gradients: 'compared' | 'finite';
  /** The smallest selection that it is part of. */
  selection: Selection;
}

/**
 * How much of the contract is run: all of it; 'core', a short selection of everything for slow places; 'sample', each kind of
 * test once or twice, for one more way through code that was held to more elsewhere; 'glance', less than that, where code and
 * driver are the same as elsewhere. What is slow is a software GPU's compiler: a case costs what it has alone of options and widths.
 */
export type Selection = 'all' | 'core' | 'sample' | 'glance';

const SELECTIONS: readonly Selection[] = ['glance', 'sample', 'core', 'all'];

/** Whether what belongs to the selection `smallest` is part of `selection`, too. */
export function isPartOf(selection: Selection, smallest: Selection): boolean {
  return SELECTIONS.indexOf(smallest) <= SELECTIONS.indexOf(selection);
}

export type Given = Partial<Omit<AttentionCase, 'name' | 'seed'>>;

/** A case from what differs from B1 H2 Sq5 Sk7 D8, rank 4, BHSD; Hkv follows H, Dv follows D. */
export function attentionCase(name: string, given: Given = {}): AttentionCase {
  const {H = given.rank && given.rank < 4 ? 1 : 2, D = 8, rank = 4, options = {}} = given;
  const seed = [...name].reduce((hash, letter) => (Math.imul(hash, 31) + letter.codePointAt(0)!) >>> 0, 7) % 1e6;
  return {
    name, seed, options, rank, H, D,
    B: 1, Hkv: H, Sq: 5, Sk: 7, Dv: D, layout: 'BHSD', qkFactor: 1, gradients: 'compared', selection: 'all',
    float32Bias: /−1e9$/.test(options.bias?.fill ?? '') && options.bias?.fill !== 'some −1e9',
    ...given,
  }; // prettier-ignore
}
