/**
 * How much faster is a whole model with its attention fused: small real graphs, and encoders of BERT-base's width with random
 * weights, attention as in BERT's graphs or as Keras's Einsums?
 *
 * npm run bench -- graph --help             each is verified before it is timed
 */
import '@tensorflow/tfjs';
import {spawnSync} from 'node:child_process';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {Command, InvalidArgumentError, Option} from 'commander';
import {EXPECTED} from '../graph/expected';
import {modelNames, packedText} from '../graph/model_case';
import {openPage} from '../harness/browser';
import {describeMachine, versionOf} from './compare/machine';
import {save} from './graph_results';
import type {GraphResult, GraphRow} from './graph_results';
import {measureEncoder, measureModel} from './graph_timing';
import type {EncoderCase, Measured} from './graph_timing';
import {openGpu} from './webgpu_timing';

const BACKENDS = ['cpu', 'wasm', 'tensorflow', 'webgl', 'webgpu', 'webgpu-page'] as const;
type Backend = (typeof BACKENDS)[number];
const STYLES = ['bert', 'keras'] as const;

interface Flags {
  backend: Backend[];
  style: EncoderCase['style'][];
  positions: number[];
  layers: number;
  width: number;
  seconds: number;
  limit: number;
  json: boolean;
  save?: string;
}

function whole(text: string): number {
  const value = Number(text);
  if (!(Number.isSafeInteger(value) && value > 0)) throw new InvalidArgumentError('It must be a positive integer.');
  return value;
}

function among<T extends string>(names: readonly T[]): (text: string) => T[] {
  return text =>
    text.split(',').map(word => {
      const found = names.find(name => name === word);
      if (!found) throw new InvalidArgumentError(`It must be of ${names.join(', ')}.`);
      return found;
    });
}

const wholes = (text: string): number[] => text.split(',').map(whole);

/** Runs functions of graph_timing where the backend is. */
interface Bench {
  measureEncoder: typeof measureEncoder;
  measureModel: typeof measureModel;
  close(): Promise<void>;
}

async function open(backend: Backend): Promise<Bench> {
  tf.env().set('PROD', true);
  if (backend === 'webgl' || backend === 'webgpu-page') {
    const page = await openPage({
      backend: backend === 'webgl' ? 'webgl' : 'webgpu',
      module: join(__dirname, 'graph_page.ts'),
    });
    return {
      measureEncoder: (...args) => page.call<Measured>('measureEncoder', ...args),
      measureModel: (...args) => page.call<Measured>('measureModel', ...args),
      close: () => page.close(),
    };
  }
  if (backend === 'webgpu') await openGpu(1);
  if (backend === 'tensorflow') await import('@tensorflow/tfjs-node');
  if (backend === 'wasm') {
    const {setWasmPaths} = await import('@tensorflow/tfjs-backend-wasm');
    setWasmPaths(join(require.resolve('@tensorflow/tfjs-backend-wasm'), '../'));
  }
  if (!(await tf.setBackend(backend))) throw new Error(`backend '${backend}' does not start here`);
  return {measureEncoder, measureModel, close: () => Promise.resolve()};
}

const rowOf = (model: string, backend: Backend, measured: Measured, sizes: Partial<EncoderCase> = {}): GraphRow => ({
  model, backend, ...sizes, ...measured,
  speed: measured.plain && measured.plain.ms / measured.fusedTiming.ms,
}); // prettier-ignore

async function models([backend]: Backend[], seconds: number): Promise<GraphRow[]> {
  const bench = await open(backend);
  const rows: GraphRow[] = [];
  for (const name of modelNames()) {
    const measured = await bench.measureModel(name, packedText(name), 1000 * seconds, EXPECTED[name].unfusedFails);
    rows.push(rowOf(name, backend, measured));
    console.error(lineOf(rows[rows.length - 1]));
  }
  await bench.close();
  return rows;
}

async function encoderHere(backend: Backend, problem: EncoderCase, seconds: number): Promise<GraphRow> {
  const bench = await open(backend);
  const measured = await bench.measureEncoder(problem, 1000 * seconds);
  await bench.close();
  return rowOf(problem.style, backend, measured, problem);
}

/** Each case in a process of its own, ended at the limit. */
function encoders(flags: Flags): {rows: GraphRow[]; leftOut: string[]} {
  const {layers, width, seconds, limit} = flags;
  const rows: GraphRow[] = [];
  const leftOut: string[] = [];
  for (const style of flags.style) {
    for (const backend of flags.backend) {
      for (const positions of flags.positions) {
        const problem: EncoderCase = {style, positions, layers, width};
        const env = {...process.env, GRAPH_CASE: JSON.stringify({backend, problem, seconds})};
        const {stdout, stderr, status, signal} = spawnSync(process.execPath, [...process.execArgv, process.argv[1]], {env, encoding: 'utf8', timeout: 1000 * limit, killSignal: 'SIGKILL'}); // prettier-ignore
        const place = `${backend}, ${style}, ${positions} positions, ${layers} × ${width}`;
        const row = status === 0 ? (JSON.parse(stdout.slice(stdout.lastIndexOf('\n{') + 1)) as GraphRow) : null;
        if (row) rows.push(row);
        else {
          const reason = stderr.split('\n').find(line => /Error|^bench:/.test(line)) ?? `status ${status}`;
          leftOut.push(`${place}: ${signal ? `more than ${limit} s` : reason}`);
        }
        console.error(row ? lineOf(row) : leftOut[leftOut.length - 1]);
      }
    }
  }
  return {rows, leftOut};
}

function lineOf({model, backend, positions, layers, width, plain, fusedTiming, speed, rounds, plainFails, gpuMs, ...row}: GraphRow): string {
  const ms = (x: number): string => String(Number(x.toPrecision(3)));
  const place = [backend, model, ...(positions === undefined ? [] : [`${positions} positions, ${layers} × ${width}`])].join(', ');
  const before = plain ? `${ms(plain.ms)} ms as converted, ` : `does not run as converted (${plainFails}), `;
  const times = speed === undefined ? '' : `, ${speed.toFixed(2)}×`;
  const gpu = gpuMs ? `, of the GPU ${gpuMs.plain === undefined ? '' : `${ms(gpuMs.plain)} and `}${ms(gpuMs.fused)} ms` : '';
  return `${place}: ${row.fused} of ${row.found} fused, ${before}${ms(fusedTiming.ms)} ms fused${times}${gpu} (${rounds} rounds; differs by ${row.difference.toExponential(1)})`;
} // prettier-ignore

const program = new Command('npm run bench -- graph')
  .description('Times converted models as they are and with their attention fused, each verified first.')
  .argument('<what>', "'models': small real graphs on one backend; 'encoders': BERT-base's width, random weights")
  .option(`--backend <name,…>`, `of ${BACKENDS.join(', ')}`, among(BACKENDS), ['wasm'])
  .option('--style <name,…>', 'attention of the encoders: bert, keras (Einsum)', among(STYLES), [...STYLES])
  .option('--positions <N,…>', 'positions of the encoders', wholes, [128, 512])
  .option('--layers <n>', 'layers of the encoders', whole, 1)
  .option('--width <n>', 'width of the encoders, heads of 64', whole, 768)
  .option('--seconds <n>', 'what the timed rounds of one model may take; one round there is at least', Number, 1)
  .option('--limit <n>', 'an encoder that takes more seconds than this is left out', whole, 120)
  .addOption(new Option('--json', 'the result as JSON').default(false))
  .option('--save <name>', 'put the rows into test/benchmark/results/graph/<name>.json, in place of those of the same case')
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2)); // prettier-ignore

async function main(): Promise<void> {
  if (process.env.GRAPH_CASE) {
    const {backend, problem, seconds} = JSON.parse(process.env.GRAPH_CASE) as {
      backend: Backend;
      problem: EncoderCase;
      seconds: number;
    };
    const row = await encoderHere(backend, problem, seconds);
    console.log(`\n${JSON.stringify(row)}`);
    return;
  }
  program.parse();
  const [what] = program.args;
  const flags = program.opts<Flags>();
  if (what !== 'models' && what !== 'encoders') program.error(`error: '${what}' is none of models, encoders`);
  if (what === 'models' && flags.backend.length !== 1) program.error('error: models run on one backend at a time');
  const {rows, leftOut} = what === 'models' ? {rows: await models(flags.backend, flags.seconds), leftOut: []} : encoders(flags); // prettier-ignore
  const result: GraphResult = {
    command: ['npm run bench -- graph', ...process.argv.slice(2)].join(' '),
    date: new Date().toISOString().slice(0, 10),
    machine: describeMachine(),
    versions: {node: process.version, '@tensorflow/tfjs-core': versionOf('@tensorflow/tfjs-core')},
    rows,
    leftOut,
  };
  if (flags.json) console.log(JSON.stringify(result, null, 2));
  if (flags.save !== undefined) save(flags.save, result);
}

main().then(
  () => process.exit(), // Dawn's threads would keep the process alive
  (error: unknown) => {
    console.error(`bench: ${(error as Error).message.split('\n')[0]}`);
    process.exit(1);
  },
);
