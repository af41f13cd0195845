/**
 * onnxruntime's MultiHeadAttention (com.microsoft) in a process of its own: loaded together, its web build would run on the native one. The
 * packages take 290 and 140 MB, so they are no dependencies: `--peers` installs the pinned versions into the cache, once.
 */
import {execFileSync, fork} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {join, resolve} from 'node:path';
import type {Contestant} from './contestants';
import {smallOf} from './memory';
import {inputsOf, transposed} from './numbers';
import {attentionModel} from './onnx_model';
import {peakOfProcess} from './process_memory';
import {queriesOf} from './result';
import type {Backend, Problem} from './result';

const VERSION = '1.30.0';
const PACKAGES = ['onnxruntime-node', 'onnxruntime-web'] as const;
const FOLDER = resolve('node_modules/.cache/tfjs-flash-attention/peers');

/** A package, and where it computes. */
export interface Peer {
  name: string;
  package: (typeof PACKAGES)[number];
  executionProvider: 'cpu' | 'wasm' | 'webgpu';
}

const WEB: Peer = {name: 'onnxruntime-web', package: 'onnxruntime-web', executionProvider: 'wasm'};

/** Whose kind of arithmetic a backend is compared with; webgl has none. */
const PEERS: Partial<Record<Backend, Peer>> = {
  cpu: WEB,
  wasm: WEB,
  tensorflow: {name: 'onnxruntime-node', package: 'onnxruntime-node', executionProvider: 'cpu'},
  webgpu: {name: 'onnxruntime-node, WebGPU', package: 'onnxruntime-node', executionProvider: 'webgpu'},
};

export const peerOf = (backend: Backend): Peer | undefined => PEERS[backend];

/** Null where it is not installed. */
export function versionOfPeer({package: name}: Pick<Peer, 'package'>): string | null {
  const manifest = join(FOLDER, 'node_modules', name, 'package.json');
  return existsSync(manifest) ? (JSON.parse(readFileSync(manifest, 'utf8')) as {version: string}).version : null;
}

export function installPeers(): void {
  if (PACKAGES.every(name => versionOfPeer({package: name}) === VERSION)) return;
  mkdirSync(FOLDER, {recursive: true});
  writeFileSync(join(FOLDER, 'package.json'), '{"private": true}');
  console.error(`installing ${PACKAGES.join(' and ')} ${VERSION} into ${FOLDER} …`);
  const packages = PACKAGES.map(name => `${name}@${VERSION}`);
  execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...packages], {cwd: FOLDER});
}

/** What the two processes say to each other. */
interface Request {
  problem: Problem;
  step: 'output' | 'run' | 'memory';
  /** Runs in a row. */
  count: number;
}
interface Answer {
  ms?: number;
  bytes?: number;
  /** [H, Sq, D]. */
  output?: Float32Array;
  error?: string;
}

export interface StartedPeer {
  /** Null for a pass that it does not have. */
  contestantFor(problem: Problem): Contestant | null;
  /** What one run holds, MB; in a process that has run nothing of that size. */
  megabytes(problem: Problem): Promise<number | undefined>;
  stop(): void;
}

export function startPeer(peer: Peer, threads: number): StartedPeer {
  const child: ChildProcess = fork(process.argv[1], [JSON.stringify(peer), String(threads)], {
    env: {...process.env, BENCHMARK_ROLE: 'peer'},
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const ended = once(child, 'exit').then(() => ({error: 'its process ended'}));
  const answered = async (): Promise<Answer> => ((await once(child, 'message')) as [Answer])[0];
  const ask = async (problem: Problem, step: Request['step'], count = 1): Promise<Answer> => {
    child.send({problem, step, count} satisfies Request);
    const answer: Answer = await Promise.race([answered(), ended]);
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  };
  return {
    contestantFor: problem => {
      if (problem.pass === 'backward') return null;
      return {
        name: peer.name,
        isOutside: true,
        run: async count => (await ask(problem, 'run', count)).ms,
        output: async () => (await ask(problem, 'output')).output!,
      };
    },
    megabytes: async problem => {
      await ask(smallOf(problem), 'run');
      const {bytes} = await ask(problem, 'memory');
      return bytes === undefined ? undefined : bytes / 1e6;
    },
    stop: () => void child.kill(),
  };
}

/** The part of onnxruntime that is used here. */
interface Runtime {
  env: {wasm: {numThreads: number}};
  Tensor: new (type: 'float32', data: Float32Array, dims: number[]) => {data: Float32Array};
  InferenceSession: {create(bytes: Uint8Array, options: object): Promise<Session>};
}
interface Session {
  run(feeds: object): Promise<{output: {data: Float32Array}}>;
}

/** The other process. */
export function servePeer(peer: Peer, threads: number): void {
  const runtime = createRequire(join(FOLDER, 'index.js'))(peer.package) as Runtime;
  if (peer.package === 'onnxruntime-web') runtime.env.wasm.numThreads = threads;
  interface Prepared {
    key: string;
    session: Session;
    feeds: object;
  }
  let ready: Prepared | null = null;

  async function prepare(problem: Problem): Promise<Prepared> {
    const key = JSON.stringify(problem);
    if (ready?.key === key) return ready;
    const {H, N, D} = problem;
    const options = {executionProviders: [peer.executionProvider], intraOpNumThreads: threads, interOpNumThreads: 1};
    const session = await runtime.InferenceSession.create(attentionModel(problem), options);
    const rows = {q: queriesOf(problem), k: N, v: N};
    const feeds = Object.fromEntries(
      Object.entries(inputsOf(problem)).map(([name, values]: [string, Float32Array]) => {
        const count = rows[name as keyof typeof rows];
        return [name, new runtime.Tensor('float32', transposed(values, H, count, D), [1, count, H * D])];
      }),
    );
    return (ready = {key, session, feeds});
  }

  async function answer({problem, step, count}: Request): Promise<Answer> {
    const {session, feeds} = await prepare(problem);
    if (step === 'memory') return {bytes: await peakOfProcess(() => session.run(feeds))};
    const begin = performance.now();
    for (let n = 1; n < count; n++) await session.run(feeds);
    const {output} = await session.run(feeds);
    const ms = performance.now() - begin;
    return step === 'run' ? {ms} : {output: transposed(output.data, queriesOf(problem), problem.H, problem.D)};
  }

  process.on('message', (request: Request) => {
    answer(request).then(
      result => process.send!(result),
      (error: unknown) => process.send!({error: String(error).split('\n')[0]}),
    );
  });
}
