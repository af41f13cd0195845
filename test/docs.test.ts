/** The API pages can be made from the docstrings: every tag is known, every parameter and link exists. */
import {spawnSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {pages, readPage, ROOT} from './documents/code_blocks';

it('typedoc finds nothing to complain about', () => {
  const typedoc = join(ROOT, 'node_modules/typedoc/bin/typedoc');
  const {status, stdout, stderr} = spawnSync(process.execPath, [typedoc, '--emit', 'none'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect({status, said: `${stdout}${stderr}`}).toEqual({status: 0, said: ''});
});

it.each([...pages(), 'CHANGELOG.md'])('the links and paths of %s exist', page => {
  const text = readPage(page);
  const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, path]) => join(dirname(page), path));
  const paths = [...text.matchAll(/`((?:kernels|src|test|examples|\.ci)\/[\w./-]*)`/g)].map(([, path]) => path);
  expect([...links, ...paths].filter(path => !existsSync(join(ROOT, path)))).toEqual([]);
});

/** The anchors that a page's headings get on GitHub, and those it sets itself. */
function anchorsOf(page: string): string[] {
  const text = readPage(page);
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'),
  ); // prettier-ignore
  return [...headings, ...[...text.matchAll(/<a id="([^"]+)">/g)].map(([, id]) => id)];
}

it.each(pages())('the anchors that %s links to exist', page => {
  const links = [...readPage(page).matchAll(/\]\((?!https?:)([^)#]*)#([^)]+)\)/g)];
  const missing = links.filter(([, path, anchor]) => {
    const target = path === '' ? page : join(dirname(page), path);
    return !anchorsOf(target).includes(anchor);
  });
  expect(missing.map(([link]) => link)).toEqual([]);
});
