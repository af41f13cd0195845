/** Imports point one way. The rules are in .dependency-cruiser.cjs: the sources keep them, and each of them catches something. */
import {spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';

const root = join(__dirname, '../..');
const command = join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');

/** The violations found under a folder, as `rule: from → to`. */
function violations(cwd: string): string[] {
  const folders = ['kernels', 'src', 'examples', 'test'].filter(folder => existsSync(join(cwd, folder)));
  const args = ['--config', join(root, '.dependency-cruiser.cjs'), '--output-type', 'json', ...folders];
  const {stdout, stderr} = spawnSync(process.execPath, [command, ...args], {cwd, encoding: 'utf8', maxBuffer: 2 ** 28});
  if (!stdout) throw new Error(stderr);
  const {summary} = JSON.parse(stdout) as {summary: Summary};
  if (summary.totalCruised === 0) throw new Error('no module was found');
  return summary.violations.map(({rule, from, to}) => `${rule.name}: ${from} → ${to}`);
}

interface Summary {
  totalCruised: number;
  violations: Array<{rule: {name: string}; from: string; to: string}>;
}

it('the sources keep the rules', () => {
  expect(violations(root)).toEqual([]);
});

/** Each line: the rule, a file that breaks it, what that file imports. */
const BREACHES = [
  ['no-cycles', 'src/op/cycle.ts', 'src/op/cycle'],
  ['imports-resolve', 'src/op/lost.ts', 'src/op/missing'],
  ['kernels-know-no-tfjs', 'kernels/a.ts', '@tensorflow/tfjs-core'],
  ['kernels-are-the-bottom', 'kernels/b.ts', 'src/op/there'],
  ['src-imports-no-tests', 'src/op/c.ts', 'test/there'],
  ['examples-import-no-tests', 'examples/e/d.ts', 'test/there'],
  ['op-is-the-bottom-of-src', 'src/op/e.ts', 'src/backends/there'],
  ['backends-know-the-op-only', 'src/backends/f.ts', 'src/graph/there'],
  ['backends-stand-alone', 'src/backends/g.ts', 'src/backends/there'],
  ['graph-and-layers-stand-on-the-op', 'src/layers/h.ts', 'src/backends/there'],
  ['graph-knows-no-layers', 'src/graph/i.ts', 'src/layers/there'],
  ['layers-know-no-graph', 'src/layers/j.ts', 'src/graph/there'],
  ['cli-is-on-top', 'src/graph/k.ts', 'src/cli/there'],
  ['backend-packages-are-types', 'src/backends/l.ts', '@tensorflow/tfjs-backend-webgl'],
  ['converter-and-layers-have-entries', 'src/op/m.ts', '@tensorflow/tfjs-converter'],
];

describe('the rules', () => {
  let folder: string;
  let found: string[];

  function write(file: string, text: string): void {
    mkdirSync(dirname(join(folder, file)), {recursive: true});
    writeFileSync(join(folder, file), text);
  }

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'imports-'));
    write('tsconfig.json', '{}');
    for (const name of ['tfjs-core', 'tfjs-backend-webgl', 'tfjs-converter']) {
      write(`node_modules/@tensorflow/${name}/index.js`, '');
    }
    for (const place of ['src/op', 'src/backends', 'src/graph', 'src/layers', 'src/cli', 'test']) {
      write(`${place}/there.ts`, 'export const there = 1;');
    }
    for (const [, from, to] of BREACHES) {
      const up = '../'.repeat(from.split('/').length - 1);
      write(from, `import {there} from '${to.startsWith('@') ? to : up + to}';\nexport const a = there;\n`);
    }
    // What is allowed: types of a backend package, a backend's own files, and what all backends share.
    const imports = [
      `import type {there} from '@tensorflow/tfjs-backend-webgl';`,
      `import {own} from './webgl_textures';`,
      `import {common} from './composed';`,
    ];
    write('src/backends/webgl.ts', `${imports.join('\n')}\nexport const a: typeof there = own + common;`);
    write('src/backends/webgl_textures.ts', 'export const own = 1;');
    write('src/backends/composed/index.ts', 'export const common = 1;');
    found = violations(folder);
  });
  afterAll(() => rmSync(folder, {recursive: true}));

  it.each(BREACHES)('%s catches %s', (rule, from) => {
    expect(found.map(violation => violation.split(' → ')[0])).toContain(`${rule}: ${from}`);
  });

  it('allow what is not a breach', () => {
    expect(found.filter(violation => violation.includes('webgl.ts'))).toEqual([]);
  });
});
