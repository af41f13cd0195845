/** The README's tables say what the code says. Its code blocks are run with those of the other pages: test/documents. */
import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {implementationsOf} from '../src/register';
import {EXPECTED} from './graph/expected';

const ROOT = join(__dirname, '..');
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
  exports: Record<string, unknown>;
};

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

  it.each([
    ['cpu', 'cpu-wasm'],
    ['wasm', 'cpu-wasm'],
    ['tensorflow', 'tfjs-node'],
    ['webgl', 'webgl'],
    ['webgpu', 'webgpu'],
  ])('%s: its page names the same', (backend, page) => {
    const names = implementationsOf(backend).map(({name}) => `\`${name}\``);
    expect(readFileSync(join(ROOT, 'docs', `${page}.md`), 'utf8')).toContain(names.join(', '));
  });

  it('give the sites of the converted models as the tests know them', () => {
    const rows = [...README.matchAll(/^\| [^|]* \| `(\w+)` +\| (\d+) \/ (\d+) +\|/gm)];
    expect(rows.length).toBeGreaterThan(0);
    for (const [, name, found, fused] of rows) {
      expect({name, ...EXPECTED[name]}).toMatchObject({name, found: Number(found), fused: Number(fused)});
    }
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
