/**
 * Every code block of every page does what it says, run as its reader would: from the built package, in a process or a page of its
 * own, one after the other in one project per page. A program that promises no output fails, so does a command nobody knows.
 */
import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {describeWith} from '../harness/node';
import type {Part} from '../harness/node';
import {blocksOf, commandsOf, missingLine, pages, readPage, ROOT} from './code_blocks';
import type {Block} from './code_blocks';
import {Project} from './project';

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
  dependencies: object;
  devDependencies: object;
  peerDependencies: object;
};

/** Programs of others that a page may name; they are not run. */
const FOREIGN = ['tensorflowjs_converter', 'pip'];
/** What is looked at, and not run. */
const ILLUSTRATIONS = ['text', 'mermaid', 'json', 'glsl', 'wgsl', ''];

function needsOf({language, place, code}: Block): Part[] {
  if (language === 'html' || place === 'browser') return ['chromium'];
  if (code.includes('@tensorflow/tfjs-node')) return ['tfjs-node'];
  return /from 'webgpu'/.test(code) ? ['dawn'] : [];
}

async function check(block: Block, project: Project): Promise<void> {
  const {language, place, code, prints} = block;
  if (language === 'sh') return checkShell(block, project);
  const run = place === 'browser' ? project.runInBrowser : language === 'html' ? project.runPage : project.runScript;
  expect(prints).not.toEqual([]);
  const output = await run.call(project, code);
  expect({missing: missingLine(prints, output), output}).toEqual({missing: undefined, output});
}

async function checkShell(block: Block, project: Project): Promise<void> {
  let output = '';
  for (const command of commandsOf(block)) {
    const script = /\bnpm (?:run (?:--silent )?)?([\w:-]+)/.exec(command)?.[1];
    const [program, , ...args] = command.split(' ');
    if (command.startsWith('npx tfjs-flash-attention ')) {
      const printed = await project.run(join(ROOT, 'dist/cli.js'), ...args);
      if (args.includes('--json')) JSON.parse(printed);
      expect(printed).not.toBe('');
      output += printed;
    } else if (script === 'install') {
      const known = {...manifest.dependencies, ...manifest.devDependencies, ...manifest.peerDependencies};
      for (const name of args.filter(name => name !== 'tfjs-flash-attention')) expect(known).toHaveProperty([name]);
    } else if (script !== undefined) {
      expect(manifest.scripts).toHaveProperty([script]);
      if (block.prints.length > 0) output += await project.runShell(`cd '${ROOT}' && ${command}`);
    } else if (program === 'node') {
      expect(command.split(' ').slice(1).filter(path => path.includes('/') && !existsSync(join(ROOT, path)))).toEqual([]); // prettier-ignore
    } else if (program === 'cp') {
      await project.runShell(command);
    } else {
      expect(FOREIGN).toContain(program);
    }
  }
  expect({missing: missingLine(block.prints, output), output}).toEqual({missing: undefined, output});
}

describe.each(pages())('%s', page => {
  const blocks = blocksOf(readPage(page)).filter(({language}) => !ILLUSTRATIONS.includes(language));
  let project: Project;
  beforeAll(() => {
    project = new Project();
  });
  afterAll(() => project.remove());

  it('has no code that nothing can run', () => {
    expect(blocks.filter(({language}) => !['js', 'html', 'sh'].includes(language))).toEqual([]);
  });

  for (const block of blocks) {
    describeWith(needsOf(block), `${page}:${block.line}`, () => {
      it(`${block.heading}: ${block.code.split('\n')[0]}`, () => check(block, project));
    });
  }
});
