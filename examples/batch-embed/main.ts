/**
 * Embeds every line of a text or JSONL file with Universal Sentence Encoder lite, its attention fused. What a line's embedding
 * is depends on its window of input lines alone, so that an interrupted run, resumed, ends with the bytes of an undisturbed one.
 */
import {stat} from 'node:fs/promises';
import {isMainThread} from 'node:worker_threads';
import {SingleBar} from 'cli-progress';
import {Command, InvalidArgumentError} from 'commander';
import {BACKENDS} from '../sentence-similarity/backends';
import {openInput, readWindows} from './lines';
import type {Format, Line, Window} from './lines';
import {embeddingLine, openOutput} from './output';
import {makePool, serveAsWorker} from './pool';

interface Options {
  in?: string;
  out?: string;
  format?: Format;
  field: string;
  backend: string;
  batch: number;
  window: number;
  workers: number;
  strict?: boolean;
  resume?: boolean;
  unfused?: boolean;
}

/** What the call got wrong; the work's own failures are plain errors. */
class UsageError extends Error {}

const INTERRUPTED = 130;

function integerFrom(least: number, most: number) {
  return (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`It must be an integer from ${least} to ${most}.`);
    }
    return value;
  };
}

function readOptions(): Options {
  const options = new Command('batch-embed')
    .description(
      'Embeds lines of text or JSONL: stdin to stdout, or files. Writes {"id" or "line": …, "embedding": […]} per line.',
    )
    .option('--in <path>', 'lines to embed; default: stdin')
    .option('--out <path>', 'embeddings; default: stdout')
    .option('--format <name>', `'jsonl' or 'lines'; default: JSONL if the first line begins with '{'`)
    .option('--field <name>', `where a JSON object has its text`, 'text')
    .option('--backend <name>', BACKENDS.join(', '), 'tensorflow')
    .option('--batch <n>', 'most texts of a batch', integerFrom(1, 4096), 32)
    .option('--window <n>', 'lines that are sorted by length together', integerFrom(1, 1e6), 512)
    .option('--workers <n>', 'worker threads', integerFrom(1, 64), 1)
    .option('--strict', 'stop at a broken line instead of skipping it')
    .option('--resume', 'go on behind the last whole line of --out')
    .option('--unfused', 'use the model as published, to compare')
    .allowExcessArguments(false)
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))
    .parse()
    .opts<Options>();
  const {backend, format, resume, out} = options;
  if (!BACKENDS.includes(backend))
    throw new UsageError(`Unknown backend '${backend}'; known are ${BACKENDS.join(', ')}.`);
  if (format !== undefined && format !== 'jsonl' && format !== 'lines') throw new UsageError(`Unknown format '${String(format)}'; known are jsonl, lines.`); // prettier-ignore
  if (resume && out === undefined) throw new UsageError('--resume needs --out.');
  return options;
}

type GoodLine = Extract<Line, {text: string}>;

/** A window under way. */
interface Work {
  window: Window;
  good: GoodLine[];
  /** Lines of it that are written already. */
  skip: number;
  embeddings: Promise<Float32Array>;
}

async function main(): Promise<number> {
  const options = readOptions();
  const {strict = false, resume = false, unfused = false, backend, batch} = options;
  const size = options.in === undefined ? 0 : await stat(options.in).then(file => file.size, (error: unknown) => { throw new UsageError(`Cannot read ${options.in}: ${(error as NodeJS.ErrnoException).code}.`); }); // prettier-ignore
  const {output, linesThere} = await openOutput(options.out, resume).catch((error: unknown) => {
    throw new UsageError(`Cannot write ${options.out}: ${(error as NodeJS.ErrnoException).code}.`);
  });
  const pool = await makePool(options.workers, {backend, batch, unfused});
  let interrupted = false;
  process.once('SIGINT', () => (interrupted = true));

  const bar = new SingleBar({
    format: 'embedding {bar} {percentage} % of the input, {lines} lines, {eta_formatted} left',
    stream: process.stderr,
  });
  if (size > 0) bar.start(size, 0, {lines: 0});
  const start = performance.now();
  let written = 0;
  let there = linesThere;
  let broken: string | null = null;
  const queue: Work[] = [];

  const finishFirst = async (): Promise<void> => {
    const {window, good, skip, embeddings} = queue.shift()!;
    const rows = await embeddings;
    await output.write(good.slice(skip).map((line, n) => embeddingLine(line.key, rows, skip + n)).join('')); // prettier-ignore
    written += good.length - skip;
    if (size > 0) bar.update(Math.min(size, window.bytes), {lines: linesThere + written});
  };

  for await (const window of readWindows(openInput(options.in), options.window, options.field, options.format)) {
    if (interrupted || broken) break;
    const good: GoodLine[] = [];
    for (const line of window.lines) {
      if ('text' in line) good.push(line);
      else if (strict) {
        broken = `line ${line.number} is broken: ${line.problem}.`;
        break;
      } else console.error(`batch-embed: line ${line.number} is skipped: ${line.problem}.`);
    }
    const skip = Math.min(there, good.length);
    there -= skip;
    if (skip === good.length) continue;
    const embeddings = pool.embed(good.map(({text}) => text));
    embeddings.catch(() => undefined); // awaited in its turn
    queue.push({window, good, skip, embeddings});
    while (queue.length > pool.size) await finishFirst();
  }
  // What is under way is finished: a line is written whole or not at all.
  while (queue.length > 0 && !interrupted) await finishFirst();
  bar.stop();
  await output.close();
  await pool.close();
  if (broken) throw new Error(broken);
  const seconds = (performance.now() - start) / 1000;
  console.error(
    `batch-embed: ${written} embeddings in ${seconds.toFixed(1)} s, ${(written / seconds).toFixed(1)} a second`,
  );
  return interrupted ? INTERRUPTED : 0;
}

if (isMainThread) {
  main().then(
    status => process.exit(status),
    (error: unknown) => {
      console.error(`batch-embed: ${(error as Error).message.split('\n')[0]}`);
      process.exit(error instanceof UsageError ? 2 : 1);
    },
  );
} else serveAsWorker();
