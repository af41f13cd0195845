/**
 * The worker: tfjs and its backend live here, so that a long call never blocks the page, and a call that must end ends with the
 * worker. One worker serves one backend.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Report, Request} from '../messages';
import {startBackend} from './backend';
import {measure} from './measure';
import {sweep} from './sweep';

const LONGEST_REASON = 240;

// Spares the console tfjs's advice; nothing else of this mode matters here.
tf.enableProdMode();

let device: Promise<string> | null = null;

function tell(report: Report): void {
  postMessage(report);
}

async function serve({settings, sizes}: Request): Promise<void> {
  tell({kind: 'doing', what: `starting ${settings.backend}`, done: 0, of: 1});
  device ??= startBackend(settings.backend);
  tell({kind: 'device', device: await device});
  await (sizes ? sweep(settings, sizes, tell) : measure(settings, tell));
}

/** The first line says what happened; what follows is for a debugger. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const line = message.trim().split('\n')[0];
  return line.length > LONGEST_REASON ? `${line.slice(0, LONGEST_REASON)}…` : line;
}

addEventListener('message', ({data}: MessageEvent<Request>) => {
  serve(data).then(
    () => tell({kind: 'finished'}),
    (error: unknown) => tell({kind: 'failed', reason: reasonOf(error)}),
  );
});

addEventListener('unhandledrejection', event => {
  event.preventDefault();
  tell({kind: 'failed', reason: reasonOf(event.reason)});
});
