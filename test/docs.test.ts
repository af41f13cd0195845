/** The API pages can be made from the docstrings: every tag is known, every parameter and link exists. */
import {spawnSync} from 'node:child_process';
import {existsSync, mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {pages, readPage, ROOT} from './documents/code_blocks';

it('typedoc finds nothing to complain about', () => {
  const typedoc = join(ROOT, 'node_modules/typedoc/bin/typedoc');
  const out = mkdtempSync(join(tmpdir(), 'api-'));
  const args = [typedoc, '--out', out, '--logLevel', 'Warn'];
  const {status, stdout, stderr} = spawnSync(process.execPath, args, {cwd: ROOT, encoding: 'utf8'});
  rmSync(out, {recursive: true});
  expect({status, said: `${stdout}${stderr}`}).toEqual({status: 0, said: ''});
});

it.each([...pages(), 'CHANGELOG.md'])('the links and paths of %s exist', page => {
  const text = readPage(page);
  const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, path]) => join(dirname(page), path));
  const paths = [...text.matchAll(/`((?:kernels|src|test|examples|\.ci)\/[\w./-]*)`/g)].map(([, path]) => path);
  expect([...links, ...paths].filter(path => !existsSync(join(ROOT, path)))).toEqual([]);
});

/** The anchors that a page's headings get, on GitHub and in the API pages. */
function anchorsOf(page: string): string[] {
  const text = readPage(page);
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'),
  ); // prettier-ignore
}

it.each(pages())('the anchors that %s links to exist', page => {
  const links = [...readPage(page).matchAll(/\]\((?!https?:)([^)#]*)#([^)]+)\)/g)];
  const missing = links.filter(([, path, anchor]) => {
    const target = path === '' ? page : join(dirname(page), path);
    return !anchorsOf(target).includes(anchor);
  });
  expect(missing.map(([link]) => link)).toEqual([]);
});
