/** The published package: its tarball, installed into an empty project, as CommonJS, ES module, types, command and script tag. */
import {spawnSync} from 'node:child_process';
import {cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {describeWith} from '../harness/node';
import {launch} from '../harness/browser';

interface PackageJson {
  dependencies?: Record<string, string>;
  peerDependencies: Record<string, string>;
  exports: Record<string, unknown>;
}

const root = join(__dirname, '../..');
const modules = join(root, 'node_modules');
const {dependencies = {}, peerDependencies, exports: entries} = readJson<PackageJson>(join(root, 'package.json'));
const ENTRIES = Object.keys(entries)
  .filter(entry => entry !== './package.json')
  .map(entry => entry.replace('.', 'tfjs-flash-attention'));

let folder: string;
let tarball: string;
let project: string;

beforeAll(() => {
  run('node', ['.ci/setup.mjs', 'kernels', 'build'], root);
  folder = mkdtempSync(join(tmpdir(), 'package-'));
  run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], root);
  tarball = join(folder, readdirSync(folder)[0]);
  project = join(folder, 'project');
  cpSync(join(__dirname, 'consumer'), project, {recursive: true});
  // What the package needs is linked from here, so that no registry is asked.
  const links = [...Object.keys(dependencies), ...Object.keys(peerDependencies)];
  const wanted = Object.fromEntries(links.map(name => [name, `file:${join(modules, name)}`]));
  const manifest = {private: true, dependencies: {...wanted, 'tfjs-flash-attention': `file:${tarball}`}};
  writeFileSync(join(project, 'package.json'), JSON.stringify(manifest));
  run('npm', ['install', '--offline', '--ignore-scripts', '--legacy-peer-deps'], project);
}, 300_000);

afterAll(() => {
  rmSync(folder, {recursive: true});
});

function readJson<T>(file: string): T {
  return JSON.parse(readFileSync(file, 'utf8')) as T;
}

function run(program: string, args: string[], cwd: string): string {
  const {status, stdout, stderr} = spawnSync(program, args, {cwd, encoding: 'utf8'});
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

/** Runs a script of the consumer; anything on stderr, such as tfjs's warnings, is a failure. */
function consume<T>(...args: string[]): T {
  const {status, stdout, stderr} = spawnSync('node', args, {cwd: project, encoding: 'utf8'});
  if (status !== 0 || stderr !== '') throw new Error(`${args.join(' ')} ended with ${status}:\n${stderr}`);
  return JSON.parse(stdout) as T;
}

/** Weights of a half each: scale 0 makes the scores equal. */
const MEAN = [2];

it('holds what users need and nothing else', () => {
  const files = readdirSync(join(project, 'node_modules/tfjs-flash-attention')).sort();
  const wanted = ['CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'README.md', 'SECURITY.md', 'dist', 'docs', 'package.json', 'test']; // prettier-ignore
  expect(files).toEqual(wanted);
  expect(shipped('docs').filter(file => !file.endsWith('.md'))).toEqual([]);
  expect(shipped('test')).toEqual(['benchmark', 'benchmark/README.md']);
});

/** Paths of files and folders below a folder of the installed package. */
function shipped(path: string): string[] {
  return readdirSync(join(project, 'node_modules/tfjs-flash-attention', path), {recursive: true, encoding: 'utf8'});
}

it('has pages whose relative links lead to what is in it', () => {
  const installed = join(project, 'node_modules/tfjs-flash-attention');
  const pages = shipped('.').filter(file => file.endsWith('.md'));
  const links = pages.flatMap(page =>
    [...readFileSync(join(installed, page), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, path]) => ({
      page,
      path: join(dirname(page), path),
    })),
  );
  expect(links.length).toBeGreaterThan(10);
  expect(links.filter(({path}) => !existsSync(join(installed, path)))).toEqual([]);
});

it('names the entries that are built', () => {
  const built = readdirSync(join(project, 'node_modules/tfjs-flash-attention/dist')).filter(file =>
    file.endsWith('.mjs'),
  );
  const named = ENTRIES.map(entry => `${entry.split('/')[1] ?? 'index'}.mjs`);
  expect(built.sort()).toEqual(named.sort());
});

it('works with require, and loads no backend', () => {
  const seen = consume<{names: string[][]; loaded: string[]; backends: string[]; output: number[]}>(
    'require.cjs',
    'tfjs-flash-attention',
  );
  expect(seen.names[0]).toEqual(expect.arrayContaining(['flashAttention', 'mergeAttention', 'onlineSoftmax']));
  expect(seen).toMatchObject({loaded: [], backends: [], output: MEAN});
});

it('works with import, and loads no backend', () => {
  const seen = consume<{names: string[][]; backends: string[]; output: number[]}>('import.mjs', 'tfjs-flash-attention');
  expect(seen.names[0]).toEqual(expect.arrayContaining(['flashAttention', 'mergeAttention', 'onlineSoftmax']));
  expect(seen).toMatchObject({backends: [], output: MEAN});
});

it('registers once where both copies are loaded', () => {
  expect(consume('both.mjs')).toEqual({copies: 2, outputs: [MEAN, MEAN]});
});

it.each(['require.cjs', 'import.mjs'])('gives every entry, registered once, to %s', script => {
  const {names} = consume<{names: string[][]}>(script, ...ENTRIES);
  for (const exported of names) expect(exported.length).toBeGreaterThan(0);
});

it('has types for CommonJS and ES modules', () => {
  run('node', [join(modules, 'typescript/bin/tsc'), '-p', project], project);
});

// A path into a package, without an extension, is nothing that an ES module's types can be resolved from.
it('has types that name packages by their entries', () => {
  const types = join(project, 'node_modules/tfjs-flash-attention/dist');
  const files = readdirSync(types, {recursive: true, encoding: 'utf8'}).filter(file => /\.d\.m?ts$/.test(file));
  const imports = files.flatMap(file =>
    Array.from(
      readFileSync(join(types, file), 'utf8').matchAll(/(?:from|import\() ?'([^.'][^']*)'/g),
      match => match[1],
    ),
  );
  expect(imports).toContain('@tensorflow/tfjs-layers');
  expect(imports.filter(name => !Object.hasOwn(peerDependencies, name))).toEqual([]);
});

it('passes publint', () => {
  run('node', [join(modules, 'publint/src/cli.js'), tarball, '--strict'], root);
});

it('passes arethetypeswrong', () => {
  run('node', [join(modules, '@arethetypeswrong/cli/dist/index.js'), tarball], root);
});

describeWith(['chromium'], 'a script tag in Chromium', () => {
  it('uses the page’s own tf', async () => {
    const browser = await launch();
    try {
      const page = await browser.newPage();
      await page.addScriptTag({path: join(modules, '@tensorflow/tfjs/dist/tf.min.js')});
      await page.addScriptTag({path: join(root, 'dist/tfjs-flash-attention.min.js')});
      const output = await page.evaluate(`(async () => {
        await tf.setBackend('cpu');
        return [...tfFlashAttention.flashAttention([[1, 0]], [[1, 0], [0, 1]], [[1], [3]], {scale: 0}).dataSync()];
      })()`);
      expect(output).toEqual(MEAN);
    } finally {
      await browser.close();
    }
  });
});
