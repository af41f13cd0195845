/** `npm run playground` as its reader gets it: built, served, opened in Chromium, each backend run, and used by keyboard and on a phone. */
import {spawn, spawnSync} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {Browser, BrowserContextOptions, Page} from 'playwright-core';
import {SCORES, TILES, VALUES, walk} from '../../examples/playground/tiles/walk';
import type {WayName} from '../../examples/playground/tiles/walk';
import {stepWords} from '../../examples/playground/tiles/words';
import {expectClose} from '../closeness';
import {launch} from '../harness/browser';
import {describeWith} from '../harness/node';

const EXAMPLE = join(__dirname, '../../.ci/example.mjs');
const PATIENCE = 45_000;

describe('the way through the tiles', () => {
  const exponentials = [...SCORES].map(score => Math.exp(score - Math.max(...SCORES)));
  const sum = exponentials.reduce((a, b) => a + b);
  const width = VALUES.length / SCORES.length;
  const expected = Array.from({length: width}, (_, c) =>
    exponentials.reduce((output, p, j) => output + (p / sum) * VALUES[j * width + c], 0),
  );
  const n = SCORES.length;

  it.each<[WayName, number, {reads: number; writes: number}]>([
    ['safe', 5, {reads: n * (1 + 3 + 1 + width), writes: n + n + width}],
    ['online', 4, {reads: n * (1 + 2 + 1 + width), writes: n + n + width}],
    ['flash', 1, {reads: n * (1 + width), writes: width}],
  ])('%s: %i sweeps, every access counted, and ends with the output', (name, sweeps, {reads, writes}) => {
    const way = walk(name);
    expect(way.steps).toHaveLength(sweeps * TILES);
    const last = way.steps[way.steps.length - 1];
    expect({reads: last.reads, writes: last.writes}).toEqual({reads, writes});
    expectClose('the last step', last.output!, expected, 1e-6);
    expectClose('the function itself', way.result, expected, 1e-6);
    expect(last.rowSum).toBeCloseTo(sum, 5);
  });

  it('says when the maximum grows, and what that does', () => {
    const words = walk('flash').steps.map((_, step) => stepWords(walk('flash'), step));
    expect(words[1]).toContain('the maximum grows to 2.30, so sum and output made so far shrink');
    expect(words[3]).toContain('the maximum stays 3.10');
  });
});

describe('its command', () => {
  it.each([[['--port', 'x']], [['here']]])('refuses %j in one line, exit 2', args => {
    const {status, stderr} = spawnSync(process.execPath, [EXAMPLE, 'playground', ...args], {encoding: 'utf8'});
    expect(status).toBe(2);
    expect(stderr).toMatch(/^error: [^\n]*\n$/);
  });
});

describeWith(['chromium'], 'the page', () => {
  let server: ChildProcess;
  let browser: Browser;
  let address: string;
  const out = mkdtempSync(join(tmpdir(), 'playground-'));

  beforeAll(async () => {
    const args = [EXAMPLE, 'playground', '--port', '0', '--out', out];
    // A group of its own: the program that serves is a child of the one that starts it.
    server = spawn(process.execPath, args, {detached: true, stdio: ['ignore', 'pipe', 'pipe']});
    [address, browser] = await Promise.all([addressFrom(server), launch()]);
  });
  afterAll(async () => {
    await browser?.close();
    if (server?.pid) process.kill(-server.pid);
    rmSync(out, {recursive: true});
  });

  /** Opens the page, lets `use` work with it, and holds that nothing was complained about or asked of another place. */
  async function onPage(
    query: string,
    use: (page: Page) => Promise<void>,
    options: BrowserContextOptions & {before?: (page: Page) => Promise<unknown>; base?: string; missing?: string} = {},
  ): Promise<void> {
    const {before, base = address, missing, ...context} = options;
    const page = await browser.newPage(context);
    const complaints: string[] = [];
    page.on('pageerror', error => complaints.push(`page: ${error.message}`));
    page.on('console', message => {
      const isExpected = missing !== undefined && message.location().url.includes(missing);
      if (message.type() === 'error' && !isExpected) complaints.push(`console: ${message.text()}`);
    });
    page.on('request', request => {
      const url = request.url();
      if (!/^(data|blob):/.test(url) && !url.startsWith(new URL(base).origin)) complaints.push(`asks ${url}`);
    });
    try {
      await before?.(page);
      await page.goto(`${base}${query}`);
      await page.getByRole('radio', {name: 'cpu'}).waitFor();
      await use(page);
      expect(complaints).toEqual([]);
    } finally {
      await page.close();
    }
  }

  const run = (page: Page) => page.getByRole('button', {name: 'Run'}).click();
  const ended = (page: Page, how = 'Done') => page.locator('#status', {hasText: how}).waitFor({timeout: PATIENCE});
  const text = async (page: Page, selector: string) => (await page.locator(selector).textContent()) ?? '';

  const QUERY = 'N=24&H=2&D=8&causal=1&left=9';

  async function expectResults(page: Page, backend: string): Promise<void> {
    await ended(page);
    expect(await text(page, '#status')).toMatch(new RegExp(`^Done, on ${backend}: .+\\.$`));
    expect(await text(page, '#difference')).toMatch(/^(0|\d\.\de−\d+)they agree$/);
    expect(await text(page, '#speedup')).toMatch(/^[\d.,]+×$/);
    expect(await text(page, '#comparison caption')).toBe(`${backend}, [1, 2, 24, 8], causal, window 9, all`);
    const [measured, planned] = ['measured by tfjs', 'planned by explain'];
    const ofChain = backend.startsWith('web') ? measured : planned;
    const ofFlash = backend === 'webgpu' ? measured : planned;
    expect(await page.locator('#comparison tbody tr').allTextContents()).toEqual([
      expect.stringMatching(/^Time a call\d.*rounds? of \d+.*rounds? of \d+$/),
      expect.stringMatching(/^Arithmetic.*FLOP\/s.*FLOP\/s$/),
      expect.stringMatching(new RegExp(`^Memory.*B${ofChain}.*B${ofFlash}$`)),
      expect.stringMatching(/^Error beside float64.*16 rows, allowed/),
    ]);
    const plan = new RegExp(`^On ${backend}, the implementation ‘\\w+’ serves .*By the roofs measured here`);
    expect(await text(page, '#plan')).toMatch(plan);
    expect(await page.getByRole('img', {name: /^Roofline of this device\. The roof rises/}).count()).toBe(1);
    expect(await text(page, '#roofline-caption')).toMatch(/FLOP\/s by tf\.matMul of two .* by a copy of/);
  }

  it.each(['webgl', 'webgpu'])('%s: results, memory, times, plan, roofline', async backend => {
    await onPage(`?backend=${backend}&${QUERY}`, async page => {
      await run(page);
      await expectResults(page, backend);
    });
  });

  it('wasm, deployed in a folder of any server', async () => {
    const base = 'http://localhost/some/folder/';
    const before = (page: Page) =>
      page.route(`${base}**`, route => {
        const {pathname} = new URL(route.request().url());
        return route.fulfill({path: join(out, pathname.replace('/some/folder/', '') || 'index.html')});
      });
    await onPage(
      `?backend=wasm&${QUERY}`,
      async page => {
        await run(page);
        await expectResults(page, 'wasm');
      },
      {base, before},
    );
  });

  it('cpu, by keyboard alone; then a walk through the tiles', async () => {
    await onPage(`?backend=cpu&${QUERY}`, async page => {
      const focused = () =>
        page.evaluate(() => document.activeElement?.getAttribute('name') ?? document.activeElement?.textContent);
      const order: unknown[] = [];
      for (let n = 0; n < 10; n++) {
        await page.keyboard.press('Tab');
        order.push(await focused());
      }
      expect(order).toEqual(['backend', 'B', 'H', 'N', 'D', 'causal', 'float16', 'left', 'right', 'Run']);
      await page.keyboard.press('Enter');
      await expectResults(page, 'cpu');

      while ((await focused()) !== 'Next tile') await page.keyboard.press('Tab');
      for (let n = 0; n < 8; n++) await page.keyboard.press('Enter');
      const words = 'Sweep 2 of 5 (max), tile 4: scores are read; the maximum so far is 3.10.';
      expect(await text(page, '#step-words')).toBe(words);
      expect(await page.getByRole('img', {name: `Tiles of safe softmax. ${words}`}).count()).toBe(1);
      await page.getByRole('radio', {name: 'flash attention'}).press('Space');
      await page.locator('#step-picture').click();
      expect(await text(page, '#step-words')).toMatch(/^Sweep 1 of 1 .* tile 1: keys and values are read, no score/);
    });
  });

  it('draws the curves point by point, and ends them at once when told to', async () => {
    await onPage('?backend=cpu&H=1&D=4', async page => {
      await page.getByLabel('N from 64 to').selectOption('256');
      await page.getByRole('button', {name: 'Draw the curves'}).click();
      await ended(page);
      const rows = await page.locator('#curve-table tbody tr').allTextContents();
      expect(rows).toEqual(['64', '128', '256'].map(N => expect.stringMatching(new RegExp(`^${N}.*s.*s.*×$`))));
      expect(await page.getByRole('img', {name: /^Time over N.*N 256: chain .*, flash/}).count()).toBe(1);

      await page.getByLabel('N from 64 to').selectOption('16384');
      await page.getByRole('button', {name: 'Draw the curves'}).click();
      await page.getByRole('progressbar', {name: 'Progress'}).waitFor();
      await page.locator('#curve-table tbody tr').first().waitFor({state: 'attached'});
      await page.getByRole('button', {name: 'Cancel'}).click();
      await ended(page, 'Cancelled.');
      expect(await page.getByRole('progressbar').isVisible()).toBe(false);
      expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Run');

      await page.locator('[name=N]').fill('16');
      await run(page);
      await ended(page);
    });
  });

  it('a backend that fails says why in one line, and the page lives on', async () => {
    await onPage(
      '?backend=wasm&N=16&H=1&D=4',
      async page => {
        await run(page);
        await ended(page, 'Failed.');
        expect(await text(page, '#form-error')).toMatch(
          /^The backend wasm does not start here: the file tfjs-backend-wasm\S*\.wasm does not load \(404\)$/,
        );
        await page.getByRole('radio', {name: 'cpu'}).check();
        await run(page);
        await ended(page);
        expect(await text(page, '#form-error')).toBe('');
      },
      {missing: '.wasm', before: page => page.route('**/*.wasm', route => route.fulfill({status: 404}))},
    );
  });

  it('offers what the browser has, and says what it lacks', async () => {
    const before = (page: Page) =>
      page.addInitScript('Object.defineProperty(navigator.gpu, "requestAdapter", {value: async () => null})');
    await onPage(
      '?backend=webgpu',
      async page => {
        const webgpu = page.getByRole('radio', {name: 'webgpu no adapter'});
        expect(await webgpu.isDisabled()).toBe(true);
        expect(await page.getByRole('radio', {name: 'webgl'}).isChecked()).toBe(true);
      },
      {before},
    ); // prettier-ignore
  });

  it('refuses sizes that cannot be in one line, and leads to the field', async () => {
    const refusals = [
      ['N', '', 'N must be a whole number from 1 to 65,536, but got nothing.'],
      ['H', '0', 'H must be a whole number from 1 to 128, but got 0.'],
      ['B', '1.5', 'B must be a whole number from 1 to 64, but got 1.5.'],
      ['D', 'ten', 'D must be a whole number from 1 to 1,024, but got ten.'],
      ['N', '65537', 'N must be a whole number from 1 to 65,536, but got 65537.'],
      ['left', '-2', 'window, left, must be a whole number from 0 to 65,536, but got -2.'],
      ['N', '65536', 'q, k and v of these sizes would take 2,147 MB each: at most 268 MB.'],
    ];
    await onPage('?backend=cpu&N=16&H=128&D=64', async page => {
      for (const [name, value, message] of refusals) {
        const field = page.locator(`[name=${name}]`);
        const good = await field.inputValue();
        await field.fill(value);
        await run(page);
        expect(await page.getByRole('alert').textContent()).toBe(message);
        expect(await page.locator('[aria-invalid]').evaluateAll(all => all.map(each => each.getAttribute('name')))).toEqual([name]); // prettier-ignore
        expect(await field.evaluate(element => element === document.activeElement)).toBe(true);
        await field.fill(good);
      }
    });
  });

  it('is as wide as a phone, in light and dark, and every picture says what it shows', async () => {
    await onPage(
      '?backend=cpu&N=16&H=1&D=4',
      async page => {
        await run(page);
        await ended(page);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
        const labels = await page.locator('svg').evaluateAll(all => all.map(each => each.getAttribute('aria-label')));
        expect(labels).toEqual([
          expect.stringMatching(/^Time over N, nothing measured yet\. No points yet\.$/),
          expect.stringMatching(/^Roofline of this device\. .*chain: .*FLOP\/s.*flash: .*FLOP\/s/),
          expect.stringMatching(/^Tiles of safe softmax\. Nothing is read yet\./),
        ]);
        const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const light = await paper();
        await page.emulateMedia({colorScheme: 'dark'});
        expect(await paper()).not.toBe(light);
      },
      {viewport: {width: 360, height: 740}},
    );
  });
});

/** The address that the command prints once it serves. */
function addressFrom({stdout, stderr}: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    stderr!.on('data', (data: Buffer) => (said += String(data)));
    stdout!.on('data', (data: Buffer) => {
      said += String(data);
      const [, found] = /^The page: (\S+)$/m.exec(said) ?? [];
      if (found) resolve(found);
    });
    stdout!.on('end', () => reject(new Error(`The command ended: ${said}`)));
  });
}
