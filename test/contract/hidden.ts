/** What is invisible does not leak, and what is broken and visible shows. */
import {attentionCase, isPartOf} from '../cases';
import type {AttentionCase, CaseOptions, Selection, Sizes} from '../cases';
import {expectSameBits} from '../closeness';
import {makeInputs, shapesOfCase} from '../inputs';
import type {CaseInputs, HostArray} from '../inputs';
import {isVisible} from '../reference';
import {check} from './contract_test';
import type {ContractTest} from './contract_test';
import {runFlash, runForward} from './run_case';
import type {GradientName, Values} from './run';

const SIZES: Partial<Sizes> = {B: 2, H: 2, Sq: 21, Sk: 70, D: 8};
const caseOf = (name: string, options: CaseOptions, given: Partial<AttentionCase> = {}): AttentionCase =>
  attentionCase(name, {...SIZES, Hkv: given.H ?? 2, options, selection: 'core', ...given});
/** Of the smallest selection, too. */
const SAMPLE = {selection: 'sample'} as const;

const CACHES: AttentionCase[] = [
  caseOf('keyLengths', {keyLengths: [33, 64]}),
  caseOf('keyLengths 0 and 1', {keyLengths: [0, 1], sinks: true}),
  caseOf('keyLengths, causal, window', {keyLengths: [33, 60], causal: true, window: [30, -1], queryOffset: [20, 45]}),
  caseOf('keyLengths, grouped, BSHD', {keyLengths: [5, 69]}, {H: 4, Hkv: 2, layout: 'BSHD'}),
  caseOf('keyLengths, bias, softcap, dropout, sinks', {
    keyLengths: [40, 3], bias: {shape: [2, 1, 70], fill: 'normal'}, softcap: 3, dropout: 0.2, seed: 2, sinks: true,
  }, SAMPLE),
  caseOf('keyLengths, mask, segments, alibi', {
    keyLengths: [40, 65], mask: {shape: [21, 70], fill: 'random'}, alibiSlopes: 'perHead',
    segmentIds: {query: [Array(21).fill(0), Array(21).fill(1)], key: [Array(70).fill(0), Array(70).fill(1)]},
  }),
  caseOf('keyLengths, decode', {keyLengths: [300, 17]}, {H: 4, Hkv: 1, Sq: 1, Sk: 400, selection: 'glance'}),
]; // prettier-ignore

const INFINITIES = [Infinity, -Infinity];

/** Keys at j ≥ keyLengths[b] hold NaN or infinities: every bit of output and gradients stays. */
export function poisonedCache(c: AttentionCase, name: string, poison: (n: number) => number): ContractTest {
  return {
    name: `poisoned cache (${name}): ${c.name}`,
    run: async () => {
      const clean = makeInputs(c);
      const beyond = (b: number, j: number): boolean => j >= clean.keyLengths!.values[b];
      const poisoned = {
        ...clean,
        k: overwriteKeys(c, clean.k, beyond, poison),
        v: overwriteKeys(c, clean.v, beyond, poison),
      };

      expectSameBits(`${c.name}: output of flashAttention`, await runForward(c, poisoned), await runForward(c, clean));
      const [expected, actual] = [await runFlash(c, clean), await runFlash(c, poisoned)];
      expectSameBits(`${c.name}: output`, actual.output, expected.output, shapesOfCase(c).output);
      expectSameBits(`${c.name}: lse`, actual.lse, expected.lse, shapesOfCase(c).lse);
      for (const [tensor, values] of Object.entries(expected.gradients) as [GradientName, Values][]) {
        expectSameBits(`${c.name}: gradient of ${tensor}`, actual.gradients[tensor]!, values, clean[tensor]!.shape);
      }
      for (const tensor of ['k', 'v'] as const) {
        const zeroed = overwriteKeys(
          c,
          {...clean[tensor], values: Float32Array.from(actual.gradients[tensor]!)},
          beyond,
          () => 0,
        );
        const what = `${c.name}: gradient of ${tensor} beyond keyLengths`;
        expectSameBits(
          what,
          absoluteZeros(actual.gradients[tensor]!),
          absoluteZeros(zeroed.values),
          clean[tensor].shape,
        );
      }
    },
  };
}

/** Hides keys 3, 40 and 66 from some rows at least, each in its own way. */
const HIDING: AttentionCase[] = [
  caseOf('causal', {causal: true, queryOffset: -10}),
  caseOf('causal, offsets per batch', {causal: true, queryOffset: [-5, 30]}, SAMPLE),
  caseOf('window', {window: [9, 4], queryOffset: 30}),
  caseOf('mask', {mask: {shape: [2, 1, 21, 70], fill: 'random'}}, SAMPLE),
  caseOf('segments', {
    segmentIds: {
      query: [Array.from({length: 21}, (_, i) => i % 3), Array(21).fill(7)],
      key: [Array.from({length: 70}, (_, j) => j % 3), Array.from({length: 70}, (_, j) => (j % 9 === 3 ? 8 : 7))],
    },
  }),
  caseOf('bias −∞', {bias: {shape: [2, 2, 21, 70], fill: 'some −Infinity'}}),
  caseOf('mask, softcap, alibi, dropout, sinks', {
    mask: {shape: [21, 70], fill: 'random'}, softcap: 2, alibiSlopes: 'perHead', dropout: 0.2, seed: 11, sinks: true,
  }),
]; // prettier-ignore

const BROKEN_KEYS = [3, 40, 66];

/** k is broken at three keys: rows that see one of them are NaN (k NaN), rows that see none keep every bit. */
export function brokenKeys(c: AttentionCase, k: number, v: number): ContractTest {
  return {
    name: `hidden k = ${k}, v = ${v}: ${c.name}`,
    run: async () => {
      const clean = makeInputs(c);
      const isBroken = (_b: number, j: number): boolean => BROKEN_KEYS.includes(j);
      const broken = {
        ...clean,
        k: overwriteKeys(c, clean.k, isBroken, () => k),
        v: overwriteKeys(c, clean.v, isBroken, () => v),
      };
      const [expected, actual] = [await runForward(c, clean), await runForward(c, broken)];
      let hidden = 0;
      forEachRow(c, (b, h, i, first, stride) => {
        const sees = BROKEN_KEYS.some(j => isVisible(c, clean, b, h, i, j));
        if (!sees) hidden++;
        for (let e = 0; e < c.Dv; e++) {
          const n = first + e * stride;
          if (!sees)
            expectSameBits(`${c.name}: output of a row that sees none [${[b, h, i, e]}]`, [actual[n]], [expected[n]]);
          else if (Number.isNaN(k)) {
            check(Number.isNaN(actual[n]), `${c.name}: output[${[b, h, i, e]}] sees a NaN key, but is ${actual[n]}`);
          }
        }
      });
      check(hidden > 0, `${c.name}: every row sees a broken key, so that the test says nothing`);
    },
  };
}

/** Keys 3, 40 and 66 hidden from every query: 1e30 there changes no bit of any gradient. */
const HIDDEN_FROM_ALL: AttentionCase[] = [
  caseOf('mask', {mask: {shape: [1, 70], fill: 'random'}}, {seed: 5, ...SAMPLE}),
  caseOf('causal', {causal: true, queryOffset: -18}),
  caseOf('window', {window: [0, 2], queryOffset: 42}),
  caseOf('segments', {
    segmentIds: {
      query: [Array.from({length: 21}, (_, i) => i % 3), Array(21).fill(7)],
      key: [...Array(2)].map((_, b) => Array.from({length: 70}, (_, j) => (BROKEN_KEYS.includes(j) ? 9 : b ? 7 : j % 3))),
    },
  }),
]; // prettier-ignore

export function hiddenFromAll(c: AttentionCase): ContractTest {
  return {
    name: `hidden from all, gradients: ${c.name}`,
    run: async () => {
      const clean = makeInputs(c);
      const seen = new Set<number>();
      forEachRow(c, (b, h, i) => {
        for (let j = 0; j < c.Sk; j++) if (isVisible(c, clean, b, h, i, j)) seen.add(j);
      });
      const isHidden = (_b: number, j: number): boolean => !seen.has(j);
      check(
        seen.size > 0 && seen.size < c.Sk,
        `${c.name}: ${seen.size} of ${c.Sk} keys are seen, so that the test says nothing`,
      );
      const large = (n: number): number => (n % 2 ? 1e30 : -1e30);
      const broken = {
        ...clean,
        k: overwriteKeys(c, clean.k, isHidden, large),
        v: overwriteKeys(c, clean.v, isHidden, large),
      };
      const [expected, actual] = [await runFlash(c, clean), await runFlash(c, broken)];
      expectSameBits(`${c.name}: output`, actual.output, expected.output, shapesOfCase(c).output);
      for (const tensor of ['q', 'k', 'v'] as const) {
        const [got, wanted] = [actual, expected].map(run => absoluteZeros(run.gradients[tensor]!));
        expectSameBits(`${c.name}: gradient of ${tensor}`, got, wanted, clean[tensor].shape);
      }
    },
  };
}

/** One NaN in q, bias, v or sinks: exactly the elements that depend on it are NaN, the others keep every bit. */
const VISIBLE_NAN: {where: string; c: AttentionCase; inject(x: CaseInputs): void; isNaN(b: number, h: number, i: number, e: number): boolean}[] = [
  {
    where: 'q', c: caseOf('q', {}, {selection: 'glance'}), inject: x => (x.q.values[((1 * 2 + 0) * 21 + 17) * 8 + 3] = NaN),
    isNaN: (b, h, i) => b === 1 && h === 0 && i === 17,
  },
  {
    where: 'q of a row that sees nothing', c: caseOf('q, causal', {causal: true, queryOffset: -10}),
    inject: x => (x.q.values[((1 * 2 + 0) * 21 + 4) * 8 + 3] = NaN), isNaN: () => false,
  },
  {
    where: 'k, softcap', c: caseOf('k, softcap', {softcap: 2}), inject: x => (x.k.values[((0 * 2 + 1) * 70 + 69) * 8] = NaN),
    isNaN: (b, h) => b === 0 && h === 1,
  },
  {
    where: 'first key', c: caseOf('k first', {}, SAMPLE), inject: x => (x.k.values[(1 * 2 + 1) * 70 * 8] = NaN),
    isNaN: (b, h) => b === 1 && h === 1,
  },
  {
    where: 'v', c: caseOf('v', {}, SAMPLE), inject: x => (x.v.values[((1 * 2 + 0) * 70 + 33) * 8 + 2] = NaN),
    isNaN: (b, h, _i, e) => b === 1 && h === 0 && e === 2,
  },
  {
    where: 'bias', c: caseOf('bias', {bias: {shape: [2, 21, 70], fill: 'normal'}}),
    inject: x => (x.bias!.values[(1 * 21 + 20) * 70 + 55] = NaN), isNaN: (_b, h, i) => h === 1 && i === 20,
  },
  {
    where: 'sinks', c: caseOf('sinks', {sinks: true}), inject: x => (x.sinks!.values[1] = NaN), isNaN: (_b, h) => h === 1,
  },
]; // prettier-ignore

function visibleNaN({where, c, inject, isNaN}: (typeof VISIBLE_NAN)[number]): ContractTest {
  return {
    name: `NaN shows: ${where}`,
    run: async () => {
      const expected = await runForward(c, makeInputs(c));
      const broken = makeInputs(c);
      inject(broken);
      const actual = await runForward(c, broken);
      forEachRow(c, (b, h, i, first, stride) => {
        for (let e = 0; e < c.Dv; e++) {
          const n = first + e * stride;
          const place = `output[${[b, h, i, e]}]`;
          if (isNaN(b, h, i, e))
            check(Number.isNaN(actual[n]), `NaN in ${where}: ${place} is ${actual[n]}, expected NaN`);
          else expectSameBits(`NaN in ${where}: ${place} does not depend on it`, [actual[n]], [expected[n]]);
        }
      });
    },
  };
}

/** One kind of poison each in the shorter selections. */
export function hiddenTests(selection: Selection): ContractTest[] {
  const ofSelection = (cases: AttentionCase[]) => cases.filter(c => isPartOf(selection, c.selection));
  const isAll = selection === 'all';
  return [
    ...ofSelection(CACHES).map(c => poisonedCache(c, 'NaN', () => NaN)),
    ...(isAll ? CACHES.map(c => poisonedCache(c, '±∞', n => INFINITIES[n % 2])) : []),
    ...ofSelection(HIDING).map(c => brokenKeys(c, NaN, 1)),
    ...(isAll ? HIDING.flatMap(c => [brokenKeys(c, 1e30, 1e30), brokenKeys(c, -Infinity, -1e30)]) : []),
    ...ofSelection(HIDDEN_FROM_ALL).map(hiddenFromAll),
    ...VISIBLE_NAN.filter(({c}) => isPartOf(selection, c.selection)).map(visibleNaN),
  ];
}

/** A copy of k or v with the numbers of some keys replaced. */
function overwriteKeys(
  {B, Hkv, Sk, layout}: AttentionCase,
  array: HostArray,
  isReplaced: (b: number, j: number) => boolean,
  value: (n: number) => number,
): HostArray {
  const values = array.values.slice();
  const width = values.length / (B * Hkv * Sk);
  for (let n = 0; n < values.length; n++) {
    const row = Math.floor(n / width);
    const b = Math.floor(row / (Hkv * Sk));
    const j = layout === 'BSHD' ? Math.floor(row / Hkv) % Sk : row % Sk;
    if (isReplaced(b, j)) values[n] = value(n);
  }
  return {...array, values};
}

/** −0 as 0: a zero's sign is not what a hidden gradient is asked for. */
function absoluteZeros(values: Values): number[] {
  return Array.from(values, x => (x === 0 ? 0 : x));
}

/** Visits every row of the output (rank 4, BHSD): where it starts and the step between its elements. */
function forEachRow(
  {B, H, Sq, Dv}: AttentionCase,
  visit: (b: number, h: number, i: number, first: number, stride: number) => void,
): void {
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) for (let i = 0; i < Sq; i++) visit(b, h, i, ((b * H + h) * Sq + i) * Dv, 1);
  }
}
