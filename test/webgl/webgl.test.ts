/** Fragment-shader attention in real Chromium: what the contract's table does not ask. */
import {join} from 'node:path';
import {describeInPage} from '../harness/browser';

const PAGE = join(__dirname, 'webgl_page.ts');
const CASES = [
  '5×7', '65×65 causal', '128×217 causal, grouped', 'bias [2,4,5,7]', 'bias [4,1,1]', 'softcap × bias', 'dropout over tiles',
  'long window × causal over tiles', 'everything but dropout, rank 3',
]; // prettier-ignore

describeInPage({backend: 'webgl', module: PAGE}, 'fragment shaders', page => {
  it.each(['5×7', '65×65 causal', 'dropout over tiles', 'bias [4,1,1]', 'long window × causal over tiles'])(
    'textures of 64 × 64 at most: %s',
    name => page().call('holdCases', [name], {WEBGL_MAX_TEXTURE_SIZE: 64}),
  );

  it.each(CASES)('without packing: %s', name => page().call('holdCases', [name], {WEBGL_PACK: false}));

  it('reads tensors in every form that tfjs has for them', () => page().call('otherForms'));

  it('gives every texture back: no growth over 100 calls', async () => {
    const [before, after] = await page().call<Array<Record<string, number>>>('countsOverCalls', 100);
    expect(before.numBytesInGPUAllocated).toBeGreaterThan(0);
    expect(after).toEqual(before);
  });

  it('gives the same bits 100 times, forward and backward', async () => {
    expect(await page().call('differingRuns', 100)).toBe(0);
  });

  it('leaves the context as tfjs had it', async () => {
    expect(await page().call('stateChanges')).toEqual([]);
  });

  it('is seen by tf.profile and tf.time', async () => {
    expect(await page().call('profiled')).toEqual({kernels: expect.arrayContaining(['FlashAttention']), timed: true});
  });

  it('serves a plain call', async () => {
    expect((await page().call<{name: string}>('servedBy', {})).name).toBe('fragments');
  });

  it.each([
    ['WebGL 1', {WEBGL_VERSION: 1}, /WebGL 2/],
    ['no float32 targets', {WEBGL_RENDER_FLOAT32_ENABLED: false}, /float32 render targets/],
  ])('falls to composed, with the reason, on %s', async (_, flags, reason) => {
    const {name, reasons} = await page().call<{name: string; reasons: string[]}>('servedBy', flags);
    expect(name).toBe('composed');
    expect(reasons.join(' ')).toMatch(reason);
  });

  it('says clearly that the context is lost', async () => {
    expect(await page().call('callAfterLoss')).toMatch(/WebGL context of the backend was lost/);
  });
});
