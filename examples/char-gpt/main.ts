/** A small GPT on the characters of a text: trains with fused attention, saves, loads, and writes on with the cache. */
import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {SingleBar} from 'cli-progress';
import {Command, InvalidArgumentError} from 'commander';
import {compare} from './compare';
import {generate} from './generate';
import {makeGpt} from './model';
import type {GptSizes} from './model';
import {load, save} from './storage';
import {charText, randomGenerator} from './text';
import {train} from './train';

interface Options {
  text: string;
  steps: number;
  length: number;
  batch: number;
  width: number;
  heads: number;
  blocks: number;
  dropout: number;
  seed: number;
  out?: string;
  prompt: string;
  generate: number;
  backend?: string;
  compare?: boolean;
}

/** Fastest first. */
const BACKENDS: Record<string, () => Promise<unknown>> = {
  tensorflow: () => import('@tensorflow/tfjs-node'),
  wasm: () => import('@tensorflow/tfjs-backend-wasm'),
  cpu: () => import('@tensorflow/tfjs-backend-cpu'),
};

/** What the call got wrong; the work's own failures are plain errors. */
class UsageError extends Error {}

function numberFrom(least: number, most: number, isInteger = true) {
  return (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= least && value <= most) || (isInteger && !Number.isInteger(value))) {
      throw new InvalidArgumentError(`It must be ${isInteger ? 'an integer' : 'a number'} from ${least} to ${most}.`);
    }
    return value;
  };
}

function readOptions(): Options {
  return new Command('char-gpt')
    .description('Trains a small GPT on the characters of a text and lets it write on.')
    .option('--text <path>', 'the text', join(__dirname, 'text.txt'))
    .option('--steps <n>', 'training steps', numberFrom(1, 1e6), 200)
    .option('--length <T>', 'characters of a training piece', numberFrom(2, 4096), 128)
    .option('--batch <n>', 'pieces per step', numberFrom(1, 1024), 6)
    .option('--width <n>', 'width of the model', numberFrom(2, 4096), 64)
    .option('--heads <n>', 'attention heads; their width is even', numberFrom(1, 256), 4)
    .option('--blocks <n>', 'blocks of attention and Dense layers', numberFrom(1, 64), 2)
    .option('--dropout <p>', 'dropout of attention weights in training', numberFrom(0, 0.9, false), 0.1)
    .option('--seed <n>', 'seed of weights, batches and generation', numberFrom(0, 2 ** 31), 1)
    .option('--out <folder>', 'keep the trained model there')
    .option('--prompt <text>', 'what the generated text begins with', 'The ')
    .option('--generate <n>', 'characters to write', numberFrom(1, 1e6), 300)
    .option('--backend <name>', `${Object.keys(BACKENDS).join(', ')}; default: the first that is there`)
    .option('--compare', 'train 50 steps fused and on the chain instead, and compare losses, time and memory')
    .allowExcessArguments(false)
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))
    .parse()
    .opts<Options>();
}

async function selectBackend(wanted?: string): Promise<void> {
  tf.env().set('PROD', true);
  if (wanted !== undefined && !(wanted in BACKENDS)) throw new UsageError(`Unknown backend '${wanted}'; known are ${Object.keys(BACKENDS).join(', ')}.`); // prettier-ignore
  for (const name of wanted === undefined ? Object.keys(BACKENDS) : [wanted]) {
    try {
      await BACKENDS[name]();
      if (await tf.setBackend(name)) return;
    } catch (error) {
      if (wanted !== undefined) throw new Error(`Backend '${name}' cannot be loaded: ${(error as Error).message.split('\n')[0]}`, {cause: error}); // prettier-ignore
    }
  }
}

async function main(): Promise<number> {
  const options = readOptions();
  const {width, heads, blocks, dropout, seed, length: T, batch, steps} = options;
  if (width % (2 * heads) !== 0) throw new UsageError(`A width of ${width} is not ${heads} heads of an even width.`);
  const content = await readFile(options.text, 'utf8').catch((error: unknown) => {
    throw new UsageError(`Cannot read the text ${options.text}: ${(error as NodeJS.ErrnoException).code}.`);
  });
  const {alphabet, tokens} = charText(content);
  if (tokens.length < T + 2)
    throw new UsageError(`${options.text} has ${tokens.length} characters, too few for pieces of ${T}.`);
  const strange = [...options.prompt].find(char => !alphabet.includes(char));
  if (options.prompt === '' || strange !== undefined) throw new UsageError(`The prompt must be of the text's characters, and '${strange ?? ''}' is none.`); // prettier-ignore
  await selectBackend(options.backend);

  const sizes: GptSizes = {vocabulary: alphabet.length, width, heads, blocks, dropout};
  const training = {steps, batch, T, seed, learningRate: 3e-3};
  if (options.compare) return (await compare(sizes, tokens, {...training, steps: 50, T: Math.min(T, 64)})) ? 0 : 1;

  let model = makeGpt(sizes, seed);
  console.log(`${model.countParams()} parameters, ${alphabet.length} characters, backend ${tf.getBackend()}`);
  const bar = new SingleBar({
    format: 'training {bar} {value}/{total}, loss {loss}, {eta_formatted} left',
    stream: process.stderr,
  });
  bar.start(steps, 0, {loss: '–'});
  const shown = Math.max(1, Math.floor(steps / 10));
  const report: string[] = [];
  await train(model, tokens, {
    ...training,
    onStep: (step, loss) => {
      bar.update(step, {loss: loss.toFixed(3)});
      if (step % shown === 0 || step === 1) report.push(`step ${String(step).padStart(5)}  loss ${loss.toFixed(3)}`);
    },
  });
  bar.stop();
  console.log(report.join('\n'));
  if (options.out !== undefined) {
    await save(model, options.out, {alphabet, sizes});
    model.dispose();
    ({model} = await load(options.out));
    console.log(`Saved to ${options.out} and loaded again.`);
  }

  const prompt = [...options.prompt].map(char => alphabet.indexOf(char));
  const start = performance.now();
  const written = await generate(model, prompt, {
    length: options.generate,
    temperature: 0.7,
    random: randomGenerator(seed),
    heads,
    headDim: width / heads,
    blocks,
  });
  const speed = options.generate / ((performance.now() - start) / 1000);
  console.log(`\n${written.map(token => alphabet[token]).join('')}\n\n${speed.toFixed(0)} characters a second`);
  return 0;
}

main().then(
  status => process.exit(status),
  (error: unknown) => {
    console.error(`char-gpt: ${(error as Error).message.split('\n')[0]}`);
    process.exit(error instanceof UsageError ? 2 : 1);
  },
);
