/**
 * Runs a benchmark: the comparison with peers (test/benchmark/compare), or with a word first the program that answers that question,
 * test/benchmark/<question>.ts. Each verifies before it times.
 *
 * npm run bench -- [options] | <question> [arguments]
 */
import {existsSync, readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {root} from './setup/steps.mjs';
import {start} from './start.mjs';

const args = process.argv.slice(2);
const folder = join(root, 'test', 'benchmark');
const isQuestion = file =>
  /^\w+\.ts$/.test(file) && readFileSync(join(folder, file), 'utf8').includes('npm run bench --');
const questions = readdirSync(folder)
  .filter(isQuestion)
  .map(file => file.replace(/\.ts$/, ''))
  .join(' | ');

const asks = args.length > 0 && !args[0].startsWith('-');
const main = asks ? join(folder, `${args[0]}.ts`) : join(folder, 'compare', 'main.ts');
if (!existsSync(main)) {
  console.error(`Usage: npm run bench -- [options] | <${questions}> [arguments]`);
  process.exit(2);
}
process.env.QUESTIONS = questions;
process.exit(await start(main, asks ? args.slice(1) : args, ['--expose-gc']));
