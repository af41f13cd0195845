/** The page: form, buttons and sections, and who hears what the worker reports. */
import type {Report, Request, Settings} from '../messages';
import {offerBackends} from './backends';
import {curveView} from './curve';
import {byId} from './dom';
import {addressOf, FormError, prefill, readSettings} from './form';
import {resultView} from './result';
import {rooflineView} from './roofline';
import {cancel, request} from './session';
import {showTiles} from '../tiles/player';

const SHORTEST = 64;

const form = byId('settings', HTMLFormElement);
const [formError, status] = [byId('form-error', HTMLElement), byId('status', HTMLElement)];
const progress = byId('progress', HTMLProgressElement);
const cancelButton = byId('cancel', HTMLElement);
const query = new URLSearchParams(location.search);
const [result, curve, roofline] = [resultView(), curveView(), rooflineView()];

/** Settings that can be served, or null after the line that says what is wrong. */
function settings(needsN: boolean): Settings | null {
  formError.textContent = '';
  for (const field of form.querySelectorAll('[aria-invalid]')) field.removeAttribute('aria-invalid');
  try {
    return readSettings(form, needsN);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    formError.textContent = error.message;
    error.field.setAttribute('aria-invalid', 'true');
    error.field.focus();
    return null;
  }
}

let latest = 0;

/** Runs one request with progress and the way to end it; a failure is one line, and the page lives on. A new one ends the old. */
async function run(wanted: Request, hear: (report: Report) => void): Promise<void> {
  const mine = ++latest;
  let device = '';
  formError.textContent = '';
  setBusy(true);
  const outcome = await request(wanted, report => {
    if (report.kind === 'device') device = report.device;
    if (report.kind === 'doing') {
      progress.max = report.of;
      progress.value = report.done;
      status.textContent = `${report.what} (${report.done + 1} of ${report.of}) …`;
    }
    hear(report);
  });
  if (mine !== latest) return;
  setBusy(false);
  if (outcome === 'finished') status.textContent = `Done, on ${wanted.settings.backend}: ${device}.`;
  else if (outcome === 'cancelled') status.textContent = 'Cancelled.';
  else {
    status.textContent = 'Failed.';
    formError.textContent = outcome.reason;
  }
}

function setBusy(isBusy: boolean): void {
  progress.hidden = !isBusy;
  progress.value = 0;
  cancelButton.hidden = !isBusy;
  document.body.classList.toggle('busy', isBusy);
}

form.addEventListener('submit', event => {
  event.preventDefault();
  const wanted = settings(true);
  if (!wanted) return;
  history.replaceState(null, '', addressOf(wanted));
  result.start(wanted);
  void run({settings: wanted}, report => {
    result.hear(report);
    roofline.hear(report);
  }).then(result.end);
});

byId('sweep', HTMLElement).addEventListener('click', () => {
  const wanted = settings(false);
  if (!wanted) return;
  const longest = Number(byId('longest', HTMLSelectElement).value);
  const sizes: number[] = [];
  for (let N = SHORTEST; N <= longest; N *= 2) sizes.push(N);
  curve.start(wanted, sizes);
  void run({settings: wanted, sizes}, curve.hear);
});

cancelButton.addEventListener('click', () => {
  cancel();
  form.querySelector<HTMLButtonElement>('[type=submit]')?.focus();
});
addEventListener('keydown', ({key}) => {
  if (key === 'Escape') cancel();
});

prefill(form, query);
showTiles(byId('tiles', HTMLElement));
void offerBackends(byId('backends', HTMLElement), query.get('backend'));
