/** The API pages can be made from the docstrings: every tag is known, every parameter and link exists. */
import {spawnSync} from 'node:child_process';
import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

const ROOT = join(__dirname, '..');

it('typedoc finds nothing to complain about', () => {
  const typedoc = join(ROOT, 'node_modules/typedoc/bin/typedoc');
  const {status, stdout, stderr} = spawnSync(process.execPath, [typedoc, '--emit', 'none'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect({status, said: `${stdout}${stderr}`}).toEqual({status: 0, said: ''});
});

it.each(['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'])('the links and paths of %s exist', file => {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path]) => path);
  const paths = [...text.matchAll(/`((?:kernels|src|test|examples|\.ci)\/[\w./-]*)`/g)].map(([, path]) => path);
  expect([...links, ...paths].filter(path => !existsSync(join(ROOT, path)))).toEqual([]);
});
