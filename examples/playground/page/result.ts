/** The section on one call: fills in what the worker reports, as it reports it. */
import type {Agreement, Both, Held, Report, Settings, Timing} from '../messages';
import {byId, html, row} from './dom';
import {boundSentence, otherImplementations, planSentences} from './plan_words';
import {deviation, duration, quantity, times} from './quantity';

const ROWS = {
  time: 'Time a call',
  rate: 'Arithmetic',
  memory: 'Memory held besides inputs and output',
  error: 'Error beside float64',
};
const HEADLINES = ['speedup', 'memory-ratio', 'difference'] as const;
const PARTS = ['chain', 'flash'] as const;
type Part = (typeof PARTS)[number];
const PENDING = '…';
const NONE = '–';

export interface ResultView {
  start: (settings: Settings) => void;
  hear: (report: Report) => void;
  /** Nothing more comes: what is still open stays unknown. */
  end: () => void;
}

export function resultView(): ResultView {
  const [place, hint, remark, plan] = ['result', 'result-hint', 'remark', 'plan'].map(id => byId(id, HTMLElement));
  const table = byId('comparison', HTMLTableElement);
  const cells = new Map<string, HTMLElement>();
  let flops: Both<number> = {chain: 0, flash: 0};

  const headline = (id: (typeof HEADLINES)[number], text: string, note = '', quality = ''): void => {
    byId(id, HTMLElement).replaceChildren(text, ...(note ? [html('small', {class: quality}, note)] : []));
  };
  const write = (name: keyof typeof ROWS, part: Part, text: string, note = ''): void =>
    cells.get(`${name} ${part}`)!.replaceChildren(text, ...(note ? [html('small', {}, note)] : []));

  const start = (settings: Settings): void => {
    hint.hidden = true;
    place.hidden = false;
    remark.textContent = '';
    plan.replaceChildren();
    for (const id of HEADLINES) headline(id, PENDING);
    table.caption!.textContent = captionOf(settings);
    const rows = Object.entries(ROWS).map(([name, title]) => {
      const values = PARTS.map(part => {
        const cell = html('span', {}, PENDING);
        cells.set(`${name} ${part}`, cell);
        return cell;
      });
      return row(title, ...values);
    });
    table.tBodies[0].replaceChildren(...rows);
  };

  const showAgreement = ({agrees, difference, errors, rows, allowed}: Agreement): void => {
    const [note, quality] = agrees ? ['they agree', 'good'] : ['they do not agree', 'bad'];
    headline('difference', difference === null ? NONE : deviation(difference), note, quality);
    write('error', 'flash', deviation(errors.flash), `${rows} rows, allowed ${deviation(allowed)}`);
    write('error', 'chain', errors.chain === null ? 'not run' : deviation(errors.chain));
  };

  const showMemory = (held: Both<Held>): void => {
    for (const part of PARTS) {
      const {bytes, source} = held[part];
      write('memory', part, quantity(bytes, 'B'), source === 'measured' ? 'measured by tfjs' : 'planned by explain');
    }
    const {chain, flash} = held;
    headline('memory-ratio', flash.bytes > 0 ? times(chain.bytes / flash.bytes) : `${quantity(chain.bytes, 'B')} : 0`);
  };

  const showTimes = (measured: {chain: Timing | null; flash: Timing}): void => {
    for (const part of PARTS) {
      const timing = measured[part];
      write('time', part, timing ? duration(timing.ms) : 'not run', timing ? roundsOf(timing) : '');
      write('rate', part, timing ? quantity(flops[part] / (timing.ms / 1e3), 'FLOP/s') : NONE);
    }
    const {chain, flash} = measured;
    headline('speedup', chain ? times(chain.ms / flash.ms) : NONE);
  };

  const hear = (report: Report): void => {
    switch (report.kind) {
      case 'plan': {
        const {explanation} = report;
        flops = {flash: explanation.flops, chain: explanation.intensity.unfused * explanation.bytes.unfused};
        const others = otherImplementations(explanation).map(text => html('li', {}, text));
        const sentences = html('p', {}, planSentences(explanation).join(' '));
        plan.replaceChildren(sentences, ...(others.length > 0 ? [html('ul', {}, ...others)] : []));
        return;
      }
      case 'agreement':
        if (report.noChain !== null) remark.textContent = `The chain is not run: ${report.noChain}.`;
        return showAgreement(report.agreement);
      case 'memory':
        return showMemory(report.held);
      case 'times':
        return showTimes(report.times);
      case 'roofs':
        plan.querySelector('p')?.append(` ${boundSentence(report.explanation)}`);
        return;
      case 'remark':
        remark.textContent = report.text;
    }
  };

  const end = (): void => {
    for (const place of [...cells.values(), ...HEADLINES.map(id => byId(id, HTMLElement))]) {
      if (place.textContent === PENDING) place.textContent = NONE;
    }
  };
  return {start, hear, end};
}

function roundsOf({fastest, slowest, rounds, calls}: Timing): string {
  const batches = `${rounds} ${rounds === 1 ? 'round' : 'rounds'} of ${calls}`;
  return rounds === 1 ? batches : `${duration(fastest)} – ${duration(slowest)}, ${batches}`;
}

/** @param shownN what stands for N. */
export function captionOf(
  {backend, B, H, N, D, causal, window: [left, right], float16}: Settings,
  shownN: number | string = N,
): string {
  const sides = [left, right].map(side => (side < 0 ? 'all' : side));
  const options = [
    causal && 'causal',
    (left >= 0 || right >= 0) && `window ${sides.join(', ')}`,
    float16 && 'float16',
  ].filter(Boolean);
  return [`${backend}, [${[B, H, shownN, D].join(', ')}]`, ...options].join(', ');
}
