/**
 * Runs one benchmark, one file per question: test/benchmark/<question>.ts. It verifies before it times.
 *
 * npm run bench -- <question> [arguments]
 */
import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {root} from './setup/steps.mjs';
import {start} from './start.mjs';

const [question, ...args] = process.argv.slice(2);
const folder = join(root, 'test', 'benchmark');
const main = join(folder, `${question}.ts`);
if (!question || !existsSync(main)) {
  const isQuestion = file => file.endsWith('.ts') && readFileSync(join(folder, file), 'utf8').includes('npm run bench');
  const questions = readdirSync(folder).filter(isQuestion);
  console.error(
    `Usage: npm run bench -- <${questions.map(file => file.replace(/\.ts$/, '')).join(' | ')}> [arguments]`,
  );
  process.exit(2);
}
process.exit(await start(main, args, ['--expose-gc']));
