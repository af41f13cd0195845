/** Fragment-shader attention in real Chromium: what the contract's table does not ask. */
import {join} from 'node:path';
import {describeInPage} from '../harness/browser';
import {FULL_TABLE} from '../harness/full_table';
import type {Explanation, FlashAttentionOptions} from '../../src';

const PAGE = join(__dirname, 'webgl_page.ts');
const CASES = [
  '7×7', '65×65 causal', '128×217 causal, grouped', 'bias [4,1,1]', 'dropout over tiles', 'long window × causal over tiles',
  'everything but dropout, rank 3', ...(FULL_TABLE ? ['bias [2,4,5,7]', 'softcap × bias'] : []),
]; // prettier-ignore

interface Draws {
  explained: Explanation;
  viewports: Array<[x: number, y: number, width: number, height: number]>;
  scratch: number;
}

interface Served {
  name: string;
  reasons: string[];
}

describeInPage({backend: 'webgl', module: PAGE}, 'fragment shaders', page => {
  // The sizes at which tfjs itself can just hold what the comparison needs.
  it.each([
    ['bias [4,1,1]', 20],
    ['BSHD', 26],
    ['65×65 causal', 92],
    ['long window × causal over tiles', 164],
    ['dropout over tiles', 104],
  ])('%s with textures of at most %i texels a side', (name, size) => page().call('holdInSmallTextures', name, size));

  it('gives the same where queries, keys and heads are cut into parts', () => page().call('holdParts', 64));

  it.each(CASES)('without packing: %s', name => page().call('holdCases', [name], {WEBGL_PACK: false}));

  it.each(['width 1, values 3', 'width 512, sums of all', 'q and k around 1e4, causal, scale 1', 'dropout over tiles'])(
    'takes the gradients of what it computed on halves: %s',
    name => page().call('holdCases', [name], {}, 'float16'),
  );

  it('reads tensors in every form that tfjs has for them', () => page().call('otherForms'));

  it('gives every texture back: no growth over 100 calls', async () => {
    const [before, after] = await page().call<Array<Record<string, number>>>('countsOverCalls', 100);
    expect(before.numBytesInGPUAllocated).toBeGreaterThan(0);
    expect(after).toEqual(before);
  });

  it('gives the same bits 100 times, forward and backward', async () => {
    expect(await page().call('differingRuns', 100)).toBe(0);
  });

  it.each<[string, FlashAttentionOptions]>([
    ['plain', {}],
    ['causal', {causal: true}],
    ['float16', {precision: 'float16'}],
  ])('draws what explain says, and holds that much: %s', async (_, options) => {
    const [Sq, Sk, H] = [300, 1300, 2];
    const {explained, viewports, scratch} = await page().call<Draws>('drawsOf', [1, H, Sq, 64], [H, Sk], options);
    const {rows, keys, block} = explained.tiles;
    const scores = viewports.filter(([, , , height]) => height === (H * block) / keys);
    expect(scores.length).toBe(Math.ceil(Sk / block));
    expect(scores.at(-1)).toEqual([0, 0, Math.ceil(Sq / rows), (H * block) / keys]);
    expect(scratch / explained.memory.fused).toBeGreaterThan(0.9);
    expect(scratch / explained.memory.fused).toBeLessThanOrEqual(1.01);
    const halves = {name: 'halves', reason: `'precision' is 'float32'`};
    expect(explained.reasons).toEqual([
      ...(options.precision ? [] : [halves]),
      {name: 'composed', reason: `'fragments' serves the call and is preferred`},
    ]);
  });

  // Heads that share keys, one block, several spans of keys, several chunks of tiles, several parts of heads.
  it.each<[string, number, [heads: number, keys: number], size: number | undefined]>([
    ['grouped heads', 4, [1, 700], undefined],
    ['one block', 2, [2, 100], undefined],
    ['keys staged in three spans', 2, [2, 500], 192],
    ['scores in two chunks, each in two spans', 12, [12, 300], 192],
    ['heads in two parts', 13, [13, 100], 192],
  ])('holds what explain says: %s', async (_, H, keys, size) => {
    const {explained, scratch} = await page().call<Draws>('drawsOf', [1, H, 40, 64], keys, {}, size);
    expect(explained.implementation).toBe('fragments');
    expect(scratch / explained.memory.fused).toBeCloseTo(1, 2);
  });

  it('draws causal calls only where they see', async () => {
    const {viewports, explained} = await page().call<Draws>('drawsOf', [1, 2, 1030, 64], [2, 1030], {causal: true});
    const {block, keys, rows} = explained.tiles;
    const widths = viewports.filter(([, , , height]) => height === (2 * block) / keys).map(([, , width]) => width);
    const tiles = Math.ceil(1030 / rows);
    expect(widths.length).toBe(Math.ceil(1030 / block));
    widths.forEach((width, n) => expect(width).toBeCloseTo((tiles * (n + 1)) / widths.length, -1));
  });

  it('leaves the context as tfjs had it', async () => {
    expect(await page().call('stateChanges')).toEqual([]);
  });

  it('is seen by tf.profile and tf.time', async () => {
    expect(await page().call('profiled')).toEqual({kernels: expect.arrayContaining(['FlashAttention']), timed: true});
  });

  it('serves a plain call', async () => {
    expect((await page().call<Served>('servedBy', {}, true)).name).toBe('fragments');
  });

  it('falls to composed, with the reason, without float32 targets', async () => {
    const {name, reasons} = await page().call<Served>('servedBy', {WEBGL_RENDER_FLOAT32_ENABLED: false}, true);
    expect(name).toBe('composed');
    expect(reasons.join(' ')).toMatch(/float32 render targets/);
  });

  it('leaves WebGL 1 to composed, with the reason', async () => {
    // Only asked: a backend on WebGL 2 cannot run under the flag of WebGL 1.
    const {name, reasons} = await page().call<Served>('servedBy', {WEBGL_VERSION: 1}, false);
    expect(name).toBe('composed');
    expect(reasons.join(' ')).toMatch(/WebGL 2/);
  });

  it('says clearly that the context is lost', async () => {
    expect(await page().call('callAfterLoss')).toMatch(/WebGL context of the backend was lost/);
  });
});
