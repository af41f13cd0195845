/** One table of calls for every backend; attention_case.ts says what a record holds. */
import {attentionCase} from './attention_case';
import type {AttentionCase, CaseOptions, Given, Selection} from './attention_case';

export {attentionCase, isPartOf} from './attention_case';
export type * from './attention_case';

/** The same case as a part of the shorter selections. */
const core = (name: string, given: Given = {}): AttentionCase => attentionCase(name, {...given, selection: 'core'});
const sample = (name: string, given: Given = {}): AttentionCase => attentionCase(name, {...given, selection: 'sample'});
const glance = (name: string, given: Given = {}): AttentionCase => attentionCase(name, {...given, selection: 'glance'});
const plain = attentionCase;

/** Sizes of every case whose options are in question: no two axes alike, so that no two can be confused. */
const SMALL = {B: 2, H: 4, Hkv: 2, Sq: 5, Sk: 7, D: 3, Dv: 6};
const WIDE = {B: 2, H: 2, Sq: 19, Sk: 37, D: 8};
const withOptions = (options: CaseOptions): Given => ({...WIDE, options});

/** Single floats, and vectors of four that several invocations share unevenly: other widths differ in how long a software GPU compiles. */
const WIDTHS: Record<number, Selection> = {19: 'core', 68: 'sample'};
const sizes: AttentionCase[] = [
  ...[1, 2, 7, 17, 63, 64, 65].flatMap(S => [
    plain(`${S}×${S}`, {Sq: S, Sk: S}),
    plain(`${S}×${S} causal`, {Sq: S, Sk: S, options: {causal: true}}),
  ]),
  ...[[1, 64], [1, 65], [64, 1], [2, 130], [65, 64], [63, 65]].map(([Sq, Sk]) => plain(`${Sq}×${Sk}`, {Sq, Sk})),
  sample('113×203', {H: 1, Sq: 113, Sk: 203, D: 16}),
  plain('113×203 causal', {H: 1, Sq: 113, Sk: 203, D: 16, options: {causal: true}}),
  plain('128×217 causal, grouped', {H: 2, Hkv: 1, Sq: 128, Sk: 217, D: 32, options: {causal: true}}),
  plain('203×113 causal', {H: 1, Sq: 203, Sk: 113, D: 16, options: {causal: true}}),
  sample('more keys than a block', {H: 1, Sq: 3, Sk: 1030, D: 4}),
  plain('more queries than a block', {H: 1, Sq: 1030, Sk: 3, D: 4}),
  glance('decode, grouped, 4 filled caches', {
    B: 4, H: 8, Hkv: 2, Sq: 1, Sk: 300, D: 16, options: {keyLengths: [1, 300, 170, 64]},
  }),
  sample('short decode, causal by a tensor of offsets', {
    B: 2, H: 4, Hkv: 2, Sq: 4, Sk: 257, D: 16, options: {causal: true, queryOffset: [100, 250], keyLengths: [104, 254]},
  }),
  ...[1, 3, 8, 19, 32, 40, 59, 64, 68, 96, 128, 132, 256].map(D =>
    plain(`width ${D}`, {H: 1, Sq: 17, Sk: 35, D, selection: WIDTHS[D] ?? 'all'}),
  ),
  ...[[8, 21], [8, 59], [64, 32], [40, 256], [3, 1], [1, 3], [96, 128], [256, 64], [59, 40]].map(([D, Dv]) =>
    plain(`width ${D}, values ${Dv}`, {H: 1, Sq: 17, Sk: 21, D, Dv}),
  ),
]; // prettier-ignore

const wide: AttentionCase[] = [
  ...[512, 1000].flatMap(D => [
    plain(`width ${D}, scores of 10`, {H: 1, Sq: 33, Sk: 31, D, qkFactor: 3}),
    plain(`width ${D}, sums of all`, {H: 2, Sq: 33, Sk: 2, D: 8, Dv: D, options: {bias: {shape: [1], fill: 'normal'}}}),
  ]),
];

const heads: AttentionCase[] = [
  ...[[4, 2], [6, 3], [8, 1], [3, 1], [5, 5]].map(([H, Hkv]) => plain(`${H} heads on ${Hkv}`, {B: 2, H, Hkv, D: 3})),
  glance('BSHD', {...SMALL, layout: 'BSHD'}),
  plain('BSHD, grouped, causal, 65×70', {...SMALL, Sq: 65, Sk: 70, layout: 'BSHD', options: {causal: true}}),
  plain('BSHD, multi-query, keyLengths, sinks', {
    ...SMALL, Hkv: 1, layout: 'BSHD', options: {keyLengths: [3, 6], sinks: true},
  }),
  plain('BSHD, dropout, bias', {
    ...SMALL, layout: 'BSHD', options: {dropout: 0.3, seed: 5, bias: {shape: [4, 5, 7], fill: 'normal'}},
  }),
  core('rank 3', {rank: 3, B: 3}),
  plain('rank 3, BSHD', {rank: 3, B: 3, layout: 'BSHD'}),
  plain('rank 2', {rank: 2}),
  plain('rank 2, BSHD', {rank: 2, layout: 'BSHD'}),
  core('rank 3, every small option', {
    rank: 3, B: 2, Dv: 4,
    options: {alibiSlopes: 'perBatchAndHead', keyLengths: [4, 7], queryOffset: [1, 2], causal: true, sinks: true},
  }),
  plain('rank 2, every small option', {
    rank: 2, Dv: 4, options: {alibiSlopes: 'perHead', keyLengths: [5], causal: true, sinks: true, softcap: 2},
  }),
  plain('rank 3, segments', {
    rank: 3, B: 2, options: {segmentIds: {query: [[0, 0, 1, 1, 2], [3, 3, 3, 4, 4]], key: [[0, 0, 0, 1, 1, 1, 1], [4, 4, 3, 3, 3, 4, 4]]}},
  }),
]; // prettier-ignore

const position: AttentionCase[] = [
  core('causal', withOptions({causal: true})),
  plain('causal, offset 0', withOptions({causal: true, queryOffset: 0})),
  plain('causal, offset 5', withOptions({causal: true, queryOffset: 5})),
  core('causal, offset −4', withOptions({causal: true, queryOffset: -4})),
  plain('causal, offset −100: nothing visible', withOptions({causal: true, queryOffset: -100})),
  plain('causal, offset 1000: all visible', withOptions({causal: true, queryOffset: 1000})),
  sample('causal, offsets per batch', withOptions({causal: true, queryOffset: [-7, 11]})),
  plain('causal, more queries than keys', {...WIDE, Sq: 37, Sk: 19, options: {causal: true}}),
  plain('window [3, ∞]', withOptions({window: [3, -1]})),
  plain('window [∞, 2]', withOptions({window: [-1, 2]})),
  core('window [2, 4]', withOptions({window: [2, 4]})),
  plain('window [0, 0]', withOptions({window: [0, 0]})),
  plain('window [∞, ∞]', withOptions({window: [-1, -1]})),
  plain('window wider than int32 sums', withOptions({window: [2 ** 31 - 1, 2 ** 31 - 1]})),
  plain('window [6, ∞] × causal', withOptions({window: [6, -1], causal: true})),
  plain('window [6, 3] × causal', withOptions({window: [6, 3], causal: true})),
  plain('window [2, 1] × offset −3', withOptions({window: [2, 1], queryOffset: -3})),
  plain('window [2, 1] × offset 30: some see nothing', withOptions({window: [2, 1], queryOffset: 30})),
  core('window × causal × offsets per batch', withOptions({window: [5, 2], causal: true, queryOffset: [-6, 20]})),
  plain('window × offsets per batch', withOptions({window: [5, 2], queryOffset: [-6, 25]})),
  sample('long window × causal over tiles', {H: 1, Sq: 130, Sk: 200, D: 8, options: {window: [40, -1], causal: true}}),
  plain('keyLengths', withOptions({keyLengths: [20, 37]})),
  plain('keyLengths 0 and 1', withOptions({keyLengths: [0, 1]})),
  plain('keyLengths clamped', withOptions({keyLengths: [-3, 1000]})),
  core('keyLengths × causal', withOptions({keyLengths: [9, 30], causal: true})),
  plain('keyLengths × causal × offset 0', withOptions({keyLengths: [9, 30], causal: true, queryOffset: 0})),
  plain('keyLengths × window', withOptions({keyLengths: [12, 33], window: [4, 1]})),
  plain(
    'keyLengths × causal × offsets per batch',
    withOptions({keyLengths: [9, 30], causal: true, queryOffset: [2, -5]}),
  ),
  plain('alibi', withOptions({alibiSlopes: 'perHead'})),
  plain('alibi per batch', withOptions({alibiSlopes: 'perBatchAndHead'})),
  plain('alibi × offset 3', withOptions({alibiSlopes: 'perHead', queryOffset: 3})),
  plain('alibi × offset −8 × causal', withOptions({alibiSlopes: 'perHead', queryOffset: -8, causal: true})),
  core('alibi × offsets per batch', withOptions({alibiSlopes: 'perBatchAndHead', queryOffset: [40, -2]})),
  plain('alibi × keyLengths × causal', withOptions({alibiSlopes: 'perHead', keyLengths: [11, 36], causal: true})),
];

const segmentsOf = (...lengths: number[]): number[] => lengths.flatMap((n, id) => Array<number>(n).fill(id));
const content: AttentionCase[] = [
  core('segments', withOptions({
    segmentIds: {query: [segmentsOf(5, 9, 5), segmentsOf(19)], key: [segmentsOf(20, 10, 7), segmentsOf(1, 36)]},
  })),
  plain('segments × causal', {
    B: 1, Sq: 30, Sk: 30, options: {
      causal: true, segmentIds: {query: [segmentsOf(7, 11, 12)], key: [segmentsOf(7, 11, 12)]},
    },
  }),
  plain('segments that never meet', withOptions({
    segmentIds: {query: [segmentsOf(19), segmentsOf(9, 10)], key: [Array(37).fill(-5), segmentsOf(36, 1)]},
  })),
  plain('segments × keyLengths × sinks', withOptions({
    segmentIds: {query: [segmentsOf(5, 9, 5), segmentsOf(10, 9)], key: [segmentsOf(20, 10, 7), segmentsOf(1, 36)]},
    keyLengths: [25, 1], sinks: true,
  })),
  core('mask', withOptions({mask: {shape: [2, 1, 19, 37], fill: 'random'}})),
  plain('mask of true', withOptions({mask: {shape: [1, 1, 1, 1], fill: 'all'}})),
  plain('mask of false', withOptions({mask: {shape: [1, 1, 1, 1], fill: 'none'}})),
  glance('mask hides whole rows', withOptions({mask: {shape: [19, 37], fill: 'some rows none'}})),
  plain('mask × bias', withOptions({mask: {shape: [37], fill: 'random'}, bias: {shape: [2, 19, 37], fill: 'normal'}})),
  plain('mask × causal × keyLengths', withOptions({mask: {shape: [19, 37], fill: 'random'}, causal: true, keyLengths: [8, 35]})),
  plain('softcap 2', withOptions({softcap: 2})),
  plain('softcap 0.1', withOptions({softcap: 0.1})),
  plain('softcap 1e6', withOptions({softcap: 1e6})),
  plain('softcap × bias', withOptions({softcap: 1.5, bias: {shape: [2, 2, 19, 37], fill: 'normal'}})),
  plain('softcap × causal × sinks', withOptions({softcap: 1.5, causal: true, sinks: true})),
  plain('softcap × alibi × bias', withOptions({softcap: 3, alibiSlopes: 'perHead', bias: {shape: [19, 37], fill: 'some −Infinity'}})),
  plain('scale 1', withOptions({scale: 1})),
  plain('scale −0.7', withOptions({scale: -0.7})),
  plain('scale 0', withOptions({scale: 0})),
  core('sinks', withOptions({sinks: true})),
  plain('sinks × nothing visible', withOptions({sinks: true, mask: {shape: [1], fill: 'none'}})),
  plain('sinks × keyLengths 0', withOptions({sinks: true, keyLengths: [0, 12]})),
  plain('sinks × causal × offset −9', withOptions({sinks: true, causal: true, queryOffset: -9})),
  plain('sinks × grouped × window', {...WIDE, H: 4, Hkv: 2, options: {sinks: true, window: [3, 3]}}),
  plain('sinks × bias', withOptions({sinks: true, bias: {shape: [2, 1, 1, 37], fill: 'normal'}})),
  plain('sinks × −1e9 everywhere', withOptions({sinks: true, bias: {shape: [1], fill: 'everywhere −1e9'}})),
  plain('dropout', withOptions({dropout: 0.25, seed: 1})),
  plain('dropout 0.9, seed 2^32 − 1', withOptions({dropout: 0.9, seed: 2 ** 32 - 1})),
  plain('dropout 0 with a seed', withOptions({dropout: 0, seed: 3})),
  plain('dropout × causal', withOptions({dropout: 0.4, seed: 77, causal: true})),
  plain('dropout × grouped × keyLengths', {...WIDE, H: 4, Hkv: 2, options: {dropout: 0.4, seed: 8, keyLengths: [13, 37]}}),
  plain('dropout × sinks × mask', withOptions({dropout: 0.5, seed: 9, sinks: true, mask: {shape: [19, 37], fill: 'some rows none'}})),
  sample('dropout × bias × softcap', withOptions({dropout: 0.1, seed: 10, softcap: 2, bias: {shape: [2, 19, 1], fill: 'normal'}})),
  plain('dropout over tiles', {H: 1, Sq: 70, Sk: 150, D: 8, options: {dropout: 0.3, seed: 123456789, causal: true}}),
  plain('dropout × window × alibi, BSHD', {
    ...WIDE, layout: 'BSHD', options: {dropout: 0.2, seed: 4, window: [8, 8], alibiSlopes: 'perHead'},
  }),
]; // prettier-ignore

/** Every way to broadcast along the axes of `full`. */
function broadcasts(full: number[]): number[][] {
  return full.reduce<number[][]>(
    (shapes, n) =>
      shapes.flatMap(shape => [
        [...shape, n],
        [...shape, 1],
      ]),
    [[]],
  );
}

const biasShapes: [Given, number[]][] = [
  ...broadcasts([2, 4, 5, 7]).map((shape): [Given, number[]] => [SMALL, shape]),
  ...[[], [7], [1], [5, 7], [5, 1], [1, 7], [4, 5, 7], [4, 1, 1], [4, 1, 7], [1, 5, 1]].map(
    (shape): [Given, number[]] => [SMALL, shape],
  ),
  ...[[3, 5, 7], [3, 1, 1], [1, 5, 7], [3, 1, 7], [5, 7], [7]].map((shape): [Given, number[]] => [{rank: 3, B: 3}, shape]),
  ...[[5, 7], [5, 1], [1, 7], [7], []].map((shape): [Given, number[]] => [{rank: 2}, shape]),
]; // prettier-ignore
const BIASES: Record<string, Selection> = {'1,4,1,7': 'core', '4,1,1': 'sample'};
const broadcast: AttentionCase[] = [
  ...biasShapes.map(([given, shape]) =>
    plain(`bias [${shape}]${given.rank ? `, rank ${given.rank}` : ''}`, {
      ...given, options: {bias: {shape, fill: 'normal'}}, selection: BIASES[`${shape}`] ?? 'all',
    }),
  ),
  ...biasShapes.map(([given, shape]) =>
    plain(`mask [${shape}]${given.rank ? `, rank ${given.rank}` : ''}`, {...given, options: {mask: {shape, fill: 'random'}}}),
  ),
  plain('bias [2,1,65,70] over tiles', {B: 2, H: 2, Sq: 65, Sk: 70, options: {bias: {shape: [2, 1, 65, 70], fill: 'normal'}}}),
  plain('bias [2,1,1] over tiles', {B: 2, H: 2, Sq: 65, Sk: 70, options: {bias: {shape: [2, 1, 1], fill: 'normal'}, causal: true}}),
]; // prettier-ignore

const extremes: AttentionCase[] = [
  ...(['some −Infinity', 'some rows −Infinity', 'some −1e9', 'some rows −1e9', 'some rows lowest', 'everywhere −1e9',
    'everywhere lowest', 'some 3e38'] as const).flatMap(fill => [
    plain(`bias ${fill}`, {...withOptions({bias: {shape: [2, 1, 19, 37], fill}}), selection: /rows|every/.test(fill) ? 'core' : 'all'}),
    plain(`bias ${fill} × causal × keyLengths`, withOptions({bias: {shape: [19, 37], fill}, causal: true, keyLengths: [21, 35]})),
  ]),
  plain('bias everywhere −1e9 over tiles', {H: 1, Sq: 70, Sk: 140, options: {bias: {shape: [1, 140], fill: 'everywhere −1e9'}}}),
  plain('bias everywhere lowest over tiles', {H: 1, Sq: 70, Sk: 140, options: {bias: {shape: [70, 1], fill: 'everywhere lowest'}}}),
  plain('bias some rows −1e9 × dropout', withOptions({
    bias: {shape: [2, 1, 19, 37], fill: 'some rows −1e9'}, dropout: 0.3, seed: 6,
  })),
  sample('q and k around 1e4', {...WIDE, qkFactor: 1e4, gradients: 'finite'}),
  plain('q and k around 1e4, causal, scale 1', {...WIDE, qkFactor: 1e4, gradients: 'finite', options: {causal: true, scale: 1}}),
  sample('scores near float32’s range', {...WIDE, D: 1, Dv: 8, qkFactor: 5e18, gradients: 'finite', options: {scale: 1}}),
  plain('products beyond float32’s range, scores within', {
    ...WIDE, D: 1, Dv: 8, qkFactor: 3e19, gradients: 'finite', options: {scale: 0.01},
  }),
  plain('scores of 30', {...WIDE, qkFactor: 4}),
]; // prettier-ignore

const empty: AttentionCase[] = [
  core('no queries', {Sq: 0}),
  glance('no keys', {Sk: 0}),
  plain('no batch', {B: 0}),
  plain('no queries, no keys', {Sq: 0, Sk: 0}),
  core('no keys, sinks', {Sk: 0, options: {sinks: true}}),
  plain('no queries, sinks', {Sq: 0, options: {sinks: true}}),
  plain('no keys, bias, mask, causal', {
    Sk: 0, options: {bias: {shape: [5, 0], fill: 'normal'}, mask: {shape: [1, 0], fill: 'all'}, causal: true},
  }),
  plain('no batch, keyLengths, offsets', {B: 0, options: {keyLengths: [], queryOffset: [], causal: true}}),
  plain('no keys, BSHD, grouped', {...SMALL, Sk: 0, layout: 'BSHD'}),
  plain('no keys, rank 2', {rank: 2, Sk: 0}),
  plain('no queries, rank 3, bias', {rank: 3, B: 2, Sq: 0, options: {bias: {shape: [0, 7], fill: 'normal'}}}),
  plain('no keys, dropout', {Sk: 0, options: {dropout: 0.5, seed: 1}}),
]; // prettier-ignore

const ids = (...values: number[]): number[] => values;
const everything: AttentionCase[] = [
  glance('everything at once', {
    B: 2, H: 4, Hkv: 2, Sq: 11, Sk: 13, D: 5, Dv: 3, layout: 'BSHD',
    options: {
      causal: true, window: [9, 3], queryOffset: [2, 4], keyLengths: [12, 10], scale: 0.4, softcap: 2,
      bias: {shape: [4, 1, 13], fill: 'some −Infinity'}, mask: {shape: [2, 1, 11, 13], fill: 'random'},
      alibiSlopes: 'perBatchAndHead', sinks: true, dropout: 0.2, seed: 42,
      segmentIds: {
        query: [ids(0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1), ids(7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 8)],
        key: [ids(0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1), ids(7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 8)],
      },
    },
  }),
  plain('everything but dropout, rank 3', {
    rank: 3, B: 2, Sq: 11, Sk: 13, D: 5, Dv: 3,
    options: {
      causal: true, window: [9, 3], queryOffset: 2, keyLengths: [12, 10], scale: 0.4, softcap: 2,
      bias: {shape: [2, 1, 13], fill: 'normal'}, mask: {shape: [11, 13], fill: 'random'}, alibiSlopes: 'perHead', sinks: true,
    },
  }),
]; // prettier-ignore

const precision: AttentionCase[] = (['float16', 'float16x2'] as const).flatMap(name => [
  plain(`precision ${name}`, {H: 2, Sq: 70, Sk: 130, D: 64, options: {precision: name}}),
  plain(`precision ${name}, causal, grouped`, {H: 4, Hkv: 2, Sq: 65, Sk: 65, D: 32, options: {precision: name, causal: true}}),
  core(`precision ${name}, keyLengths, bias`, withOptions({precision: name, keyLengths: [9, 37], bias: {shape: [37], fill: 'normal'}})),
]); // prettier-ignore

export const CASES: readonly AttentionCase[] = [
  ...sizes,
  ...wide, ...heads, ...position, ...content, ...broadcast, ...extremes, ...empty, ...everything, ...precision,
]; // prettier-ignore

/** The case of that name. */
export function caseNamed(name: string): AttentionCase {
  const found = CASES.find(c => c.name === name);
  if (!found) throw new Error(`The table has no case '${name}'.`);
  return found;
}
