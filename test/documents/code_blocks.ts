/**
 * Code blocks of the pages, and what they say they print. A line of output is promised by a comment `// → …` (`# → …` in a
 * shell), or by a `text` block right behind the code; an ellipsis in it stands for what differs from machine to machine.
 */
import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

export const ROOT = join(__dirname, '../..');

export interface Block {
  language: string;
  /** The word behind the language: `browser` for a script that a bundler makes a page of. */
  place: string;
  code: string;
  heading: string;
  /** Of the opening fence, from 1. */
  line: number;
  /** Promised lines of output, in order. */
  prints: string[];
}

/** Every page that people read, by its path. */
export function pages(): string[] {
  const folder = join(ROOT, 'docs');
  const docs = readdirSync(folder).filter(file => file.endsWith('.md'));
  return [
    'README.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    'test/benchmark/README.md',
    ...docs.map(file => `docs/${file}`),
  ];
}

export function readPage(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

const BLOCK_OR_HEADING = /^#+ (.*)$|^```(\w*) ?(\w*)\n([\s\S]*?)^```$(?:\n\n```text\n([\s\S]*?)^```$)?/gm;
const PROMISE = /^.*?(?:\/\/|#) → (.*)$/;

export function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let heading = '';
  for (const match of markdown.matchAll(BLOCK_OR_HEADING)) {
    const [, title, language, place, code, output = ''] = match;
    if (title !== undefined) {
      heading = title;
      continue;
    }
    const line = markdown.slice(0, match.index).split('\n').length;
    const comments = code.split('\n').flatMap(text => PROMISE.exec(text)?.[1] ?? []);
    const lines = output.split('\n').filter(text => text.trim() !== '');
    blocks.push({language, place, code, heading, line, prints: [...comments, ...lines]});
  }
  return blocks;
}

/** The first promised line that the output lacks, all of them being looked for in order; undefined where none is missing. */
export function missingLine(prints: string[], output: string): string | undefined {
  const lines = output.split('\n');
  let at = 0;
  return prints.find(promised => {
    const parts = promised.trim().split('…').map(part => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')); // prettier-ignore
    const pattern = new RegExp(`^${parts.join('.*')}$`);
    while (at < lines.length && !pattern.test(lines[at].trim())) at++;
    return at++ >= lines.length;
  });
}

/** The commands of a shell block, without comments. */
export function commandsOf({code}: Block): string[] {
  return code.split('\n').map(line => line.replace(/(^|\s)# .*$/, '').trim()).filter(line => line !== ''); // prettier-ignore
}
