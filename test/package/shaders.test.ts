/** Shaders as they are published (.ci/shaders) are the static files' token for token, with other names and one mapping of names. */
import {execFileSync} from 'node:child_process';
import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

const root = join(__dirname, '../..');
const files = readdirSync(join(root, 'kernels'), {recursive: true, encoding: 'utf8'})
  .filter(file => /\.(wgsl|glsl|vert|frag)$/.test(file))
  .map(file => join(root, 'kernels', file));

const PUBLISH = `
  import {readFileSync} from 'node:fs';
  import {publisher} from './.ci/shaders/published.mjs';
  const published = publisher();
  console.log(JSON.stringify(process.argv.slice(1).map(file => published(readFileSync(file, 'utf8')))));
`;

/** Names, numbers, operators, directives' line ends and markers, by a reading of its own; `$r<ROWS{` is a marked loop. */
function tokensOf(text: string): string[] {
  const joined = text.replace(/\\\n/g, ' ');
  const spelled = joined.replace(
    /\$(\w+)<([^{]+)\{/g,
    (_, name, bound) => `\nfor (var ${name} = 0u; ${name} < ${bound}; ${name}++) { // unroll\n`,
  );
  return spelled.split('\n').flatMap(line => {
    const isMarked = line.endsWith('// unroll');
    const code = line.replace(/\/\/.*$/, '');
    const tokens = code.match(/[A-Za-z_]\w*|\d[\w.]*|\.\d+|[-+*/%<>=!&|^]{1,2}|[^\s\w]/g) ?? [];
    const end = isMarked ? ['unroll'] : /^\s*#/.test(code) ? ['end of directive'] : [];
    return [...tokens, ...end];
  });
}

/** The operators one by one: `>=` in `vec4<f32>=` is two. */
const characters = (tokens: string[]): string[] =>
  tokens.flatMap(token => (/^[-+*/%<>=!&|^]{2}$/.test(token) ? [...token] : [token]));

const isName = (token: string): boolean => /^[A-Za-z_]/.test(token);

it('published shaders are the same but for names, each name always replaced by the same one', () => {
  const output = execFileSync('node', ['--input-type=module', '-e', PUBLISH, '--', ...files], {
    cwd: root,
    encoding: 'utf8',
  });
  const published = JSON.parse(output) as string[];
  expect(published).toHaveLength(files.length);
  const renamed = new Map<string, string>();
  const pairs = files.map((file, n) => ({
    file,
    source: characters(tokensOf(readFileSync(file, 'utf8'))),
    result: characters(tokensOf(published[n])),
  }));
  for (const {file, source, result} of pairs) {
    source.forEach((token, at) => {
      if (!isName(token)) {
        if (token !== result[at]) throw new Error(`${file}: token ${at} is '${result[at]}', not '${token}'`);
        return;
      }
      const known = renamed.get(token) ?? result[at];
      if (known !== result[at]) throw new Error(`${file}: '${token}' became '${known}' and '${result[at]}'`);
      renamed.set(token, result[at]);
    });
    expect(result).toHaveLength(source.length);
  }
  // No two names became one.
  expect(new Set(renamed.values()).size).toBe(renamed.size);
  const changed = [...renamed].filter(([from, to]) => from !== to);
  expect(changed.length).toBeGreaterThan(100);
});
