/** The same embedder in this thread, or in several worker threads. */
import {Worker, isMainThread, parentPort, workerData} from 'node:worker_threads';
import {makeEmbedder} from './embedder';
import type {Embed, EmbedderOptions} from './embedder';

export interface Pool {
  /** Windows that may be under way at once. */
  size: number;
  embed: Embed;
  close(): Promise<void>;
}

/** The workers are the parallelism; the kernels inside each need no threads of their own. */
const ONE_THREAD_EACH = {...process.env, FLASH_ATTENTION_THREADS: '1'};

interface Answer {
  result?: Float32Array;
  error?: string;
}

export async function makePool(workers: number, options: EmbedderOptions): Promise<Pool> {
  if (workers === 1) return {size: 1, embed: await makeEmbedder(options), close: () => Promise.resolve()};
  const free: Worker[] = Array.from(
    {length: workers},
    () => new Worker(__filename, {workerData: options, env: ONE_THREAD_EACH}),
  );
  const all = [...free];
  const waiting: Array<(worker: Worker) => void> = [];
  const take = (): Promise<Worker> => {
    const worker = free.pop();
    return worker ? Promise.resolve(worker) : new Promise(resolve => waiting.push(resolve));
  };
  const give = (worker: Worker): void => {
    const next = waiting.shift();
    if (next) next(worker);
    else free.push(worker);
  };
  return {
    size: workers,
    embed: async texts => {
      const worker = await take();
      try {
        return await ask(worker, texts);
      } finally {
        give(worker);
      }
    },
    close: async () => {
      await Promise.all(all.map(worker => worker.terminate()));
    },
  };
}

function ask(worker: Worker, texts: string[]): Promise<Float32Array> {
  return new Promise((resolve, reject) => {
    const onMessage = ({result, error}: Answer): void => {
      leave();
      if (result) resolve(result);
      else reject(new Error(error));
    };
    const onError = (error: Error): void => {
      leave();
      reject(error);
    };
    const onExit = (code: number): void => onError(new Error(`a worker thread ended with ${code}`));
    const leave = (): void => void worker.off('message', onMessage).off('error', onError).off('exit', onExit);
    worker.on('message', onMessage).on('error', onError).on('exit', onExit);
    worker.postMessage(texts);
  });
}

/** What a worker thread does; nothing in the main thread. */
export function serveAsWorker(): void {
  if (isMainThread) return;
  const embedder = makeEmbedder(workerData as EmbedderOptions);
  embedder.catch(() => undefined); // told with the first answer
  parentPort!.on('message', (texts: string[]) => {
    embedder
      .then(embed => embed(texts))
      .then(
        result => parentPort!.postMessage({result} satisfies Answer, [result.buffer as ArrayBuffer]),
        (error: unknown) => parentPort!.postMessage({error: (error as Error).message} satisfies Answer),
      );
  });
}
