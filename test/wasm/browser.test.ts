/** The kernels inside a page, bundled by esbuild: with threads where the page is cross-origin isolated, without where not. */
import {join} from 'node:path';
import {describeInPage} from '../harness/browser';

const script = join(__dirname, 'threads_page.ts');

describeInPage({backend: 'wasm', module: script, crossOriginIsolated: true}, 'isolated page', page => {
  it('two threads give the bits of one', async () => {
    const answer = await page().call<Record<string, unknown>>('oneAndTwoThreads');
    expect(answer).toMatchObject({isShared: true, workers: 1, differing: 0});
  });
});

describeInPage({backend: 'cpu', module: script}, 'plain page', page => {
  it('runs on one thread whatever is asked for', async () => {
    expect(await page().call('oneAndTwoThreads')).toEqual({isShared: false, workers: 0, differing: 0, threads: 1});
  });
});
