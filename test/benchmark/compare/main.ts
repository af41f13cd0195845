/**
 * Which attention is fastest on a backend: flashAttention by each of its implementations, the chain, Keras's Einsums, onnxruntime?
 *
 * npm run bench -- --help                 everybody is verified against float64 before anybody is timed
 */
import '@tensorflow/tfjs';
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {Command, InvalidArgumentError, Option} from 'commander';
import {THREADS_FLAG} from '../../../src/backends/wasm_settings';
import {openGpu} from '../webgpu_timing';
import {compare} from './compare';
import type {CompareOptions} from './compare';
import {RESULTS} from './markdown';
import {installPeers, servePeer} from './peers';
import type {Peer} from './peers';
import {answerMemory} from './process_memory';
import type {MemoryQuestion} from './process_memory';
import {BACKENDS, PASSES} from './result';
import type {Backend, Pass} from './result';
import {asText} from './text';

interface Arguments extends Omit<CompareOptions, 'passes' | 'say'> {
  pass: Pass[];
  peers: boolean;
  json: boolean;
  save?: string;
}

function whole(text: string): number {
  const value = Number(text);
  if (!(Number.isSafeInteger(value) && value > 0)) throw new InvalidArgumentError('It must be a positive integer.');
  return value;
}

const wholes = (text: string): number[] => text.split(',').map(whole);

function passes(text: string): Pass[] {
  return text.split(',').map(word => {
    const pass = PASSES.find(name => name === word);
    if (!pass) throw new InvalidArgumentError(`It must be of ${PASSES.join(', ')}.`);
    return pass;
  });
}

function resultName(text: string): string {
  if (!/^[\w-]+$/.test(text)) throw new InvalidArgumentError('It must be made of letters, digits, _ and -.');
  return text;
}

const program = new Command('npm run bench --')
  .description('Times attention against its peers on one backend, each verified against float64 first.')
  .addOption(new Option('--backend <name>', 'tfjs backend').choices(BACKENDS).default('wasm'))
  .option('--sizes <N,…>', 'numbers of keys', wholes, [256, 512, 1024])
  .option('--pass <name,…>', `of ${PASSES.join(', ')}; backward is with its forward`, passes, [...PASSES])
  .option('--heads <H>', 'heads', whole, 4)
  .option('--width <D>', 'width of a head', whole, 64)
  .option('--rounds <n>', 'most samples of each contestant', whole, 15)
  .option('--threads <n>', 'threads of the WebAssembly kernels and of onnxruntime-web', whole, 1)
  .option('--peers', 'install onnxruntime (430 MB) into the cache where it is missing', false)
  .option('--json', 'the result as JSON', false)
  .option('--save <name>', 'write test/benchmark/results/<name>.json', resultName)
  .addHelpText('after', `\nOther questions have a program each: npm run bench -- QUESTION; ${process.env.QUESTIONS}.`)
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2));

async function load(backend: Backend, threads: number): Promise<void> {
  tf.env().set('PROD', true);
  if (backend === 'webgl') return; // in a page
  if (backend === 'webgpu') await openGpu(1);
  if (backend === 'tensorflow') await import('@tensorflow/tfjs-node');
  if (backend === 'wasm') {
    const {setWasmPaths} = await import('@tensorflow/tfjs-backend-wasm');
    setWasmPaths(join(require.resolve('@tensorflow/tfjs-backend-wasm'), '../'));
  }
  if (!(await tf.setBackend(backend))) throw new Error(`backend '${backend}' does not start here`);
  tf.env().set(THREADS_FLAG, threads);
}

async function main(): Promise<void> {
  const {pass, peers, json, save, ...options} = program.parse().opts<Arguments>();
  if (peers) installPeers();
  await load(options.backend, options.threads);
  const result = await compare({...options, passes: pass, say: text => console.error(text)});
  const text = `${JSON.stringify(result, null, 2)}\n`;
  console.log(json ? text.trimEnd() : asText(result));
  if (save) {
    mkdirSync(RESULTS, {recursive: true});
    writeFileSync(join(RESULTS, `${save}.json`), text);
  }
}

async function role(): Promise<void> {
  switch (process.env.BENCHMARK_ROLE) {
    case 'peer':
      return servePeer(JSON.parse(process.argv[2]) as Peer, Number(process.argv[3]));
    case 'memory': {
      const question = JSON.parse(process.argv[2]) as MemoryQuestion;
      await load(question.backend, question.threads);
      return answerMemory(question);
    }
    default:
      await main();
      process.exit(); // Dawn's threads would keep the process alive
  }
}

role().catch((error: unknown) => {
  console.error(`bench: ${(error as Error).message.split('\n')[0]}`);
  process.exit(1);
});
