/** One request at a time to a worker, which is kept for the next one of the same backend. */
import type {BackendName, Report, Request} from '../messages';

export type Outcome = 'finished' | 'cancelled' | {reason: string};

let worker: Worker | null = null;
let startedFor: BackendName | null = null;
let settle: ((outcome: Outcome) => void) | null = null;

/** Hands every report to `hear`, until the request is finished, has failed or is cancelled. */
export function request(wanted: Request, hear: (report: Report) => void): Promise<Outcome> {
  cancel();
  const serving = workerFor(wanted.settings.backend);
  return new Promise(resolve => {
    settle = outcome => {
      settle = null;
      // What failed may have left anything behind, memory above all.
      if (outcome !== 'finished') endWorker();
      resolve(outcome);
    };
    serving.onmessage = ({data}: MessageEvent<Report>) => {
      if (data.kind === 'failed') settle?.(data);
      else if (data.kind === 'finished') settle?.('finished');
      else hear(data);
    };
    serving.onerror = event => {
      event.preventDefault();
      settle?.({reason: event.message || 'The worker’s script does not load.'});
    };
    serving.postMessage(wanted);
  });
}

/** Ends what is under way, in the middle of a call if need be. */
export function cancel(): void {
  settle?.('cancelled');
}

function workerFor(backend: BackendName): Worker {
  if (worker && startedFor === backend) return worker;
  endWorker();
  startedFor = backend;
  worker = new Worker(new URL('../worker/main.ts', import.meta.url), {type: 'module', name: backend});
  return worker;
}

function endWorker(): void {
  worker?.terminate();
  worker = null;
}
