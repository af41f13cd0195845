/** The section on one call: fills in what the worker reports, as it reports it. */
import type {Report, Settings} from '../messages';
import {byId, html, row} from './dom';
import {otherImplementations, planSentences} from './plan_words';
import {deviation, duration, quantity, times} from './quantity';

/** What each row of the table says before anything is known of it. */
const ROWS = {
  time: 'Time a call',
  rate: 'Arithmetic',
  memory: 'Memory held besides inputs and output',
  error: 'Error beside float64',
};
type RowName = keyof typeof ROWS;
type Part = 'chain' | 'flash';

export interface ResultView {
  start: (settings: Settings) => void;
  hear: (report: Report) => void;
}

export function resultView(): ResultView {
  const [place, hint, remark, plan] = [
    byId('result', HTMLElement),
    byId('result-hint', HTMLElement),
    byId('remark', HTMLElement),
    byId('plan', HTMLElement),
  ];
  const headline = {
    speedup: byId('speedup', HTMLElement),
    memory: byId('memory-ratio', HTMLElement),
    difference: byId('difference', HTMLElement),
  };
  const table = byId('comparison', HTMLTableElement);
  let cells: Record<RowName, Record<Part, HTMLElement>>;
  let flops: Record<Part, number> = {chain: 0, flash: 0};
  let noChain: string | null = null;

  const clear = (settings: Settings): void => {
    table.caption!.textContent = captionOf(settings);
    const entries = Object.entries(ROWS).map(([name, title]) => {
      const [chain, flash] = [html('span', {}, '…'), html('span', {}, '…')];
      table.tBodies[0].append(row(title, chain, flash));
      return [name, {chain, flash}];
    });
    cells = Object.fromEntries(entries) as typeof cells;
  };
  const write = (name: RowName, part: Part, text: string, note = ''): void =>
    cells[name][part].replaceChildren(text, ...(note ? [html('small', {}, note)] : []));

  return {
    start: settings => {
      hint.hidden = true;
      place.hidden = false;
      table.tBodies[0].replaceChildren();
      clear(settings);
      for (const each of Object.values(headline)) {
        each.textContent = '…';
        each.className = '';
      }
      remark.textContent = '';
      plan.replaceChildren();
      noChain = null;
    },
    hear: report => {
      switch (report.kind) {
        case 'plan': {
          const {explanation} = report;
          flops = {
            flash: explanation.flops,
            chain: explanation.intensity.unfused * explanation.bytes.unfused,
          };
          const others = otherImplementations(explanation).map(text => html('li', {}, text));
          plan.replaceChildren(
            html('p', {}, planSentences(explanation).join(' ')),
            ...(others.length > 0 ? [html('ul', {}, ...others)] : []),
          );
          return;
        }
        case 'agreement': {
          const {agrees, difference, errors, rows, allowed} = report.agreement;
          noChain = report.noChain;
          headline.difference.textContent = difference === null ? '–' : deviation(difference);
          headline.difference.className = agrees ? 'good' : 'bad';
          write('error', 'flash', deviation(errors.flash), `${rows} rows, allowed ${deviation(allowed)}`);
          write('error', 'chain', errors.chain === null ? 'not run' : deviation(errors.chain));
          if (noChain !== null) remark.textContent = `The chain is not run: ${noChain}.`;
          if (!agrees) for (const each of [headline.speedup, headline.memory]) each.textContent = '–';
          return;
        }
        case 'memory': {
          const {chain, flash} = report.held;
          for (const [part, {bytes, source}] of [['chain', chain], ['flash', flash]] as const) {
            write('memory', part, quantity(bytes, 'B'), source === 'measured' ? 'measured by tfjs' : 'planned by explain');
          } // prettier-ignore
          headline.memory.textContent =
            flash.bytes > 0 ? times(chain.bytes / flash.bytes) : `${quantity(chain.bytes, 'B')} : 0`;
          return;
        }
        case 'times': {
          const {chain, flash} = report.times;
          for (const [part, timing] of [['chain', chain], ['flash', flash]] as const) {
            if (!timing) {
              write('time', part, 'not run');
              write('rate', part, '–');
              continue;
            }
            const {ms, fastest, slowest, rounds, calls} = timing;
            const note = rounds > 1 ? `${duration(fastest)} – ${duration(slowest)}, ${rounds} rounds of ${calls}` : `one round of ${calls}`;
            write('time', part, duration(ms), note);
            write('rate', part, quantity(flops[part] / (ms / 1e3), 'FLOP/s'));
          } // prettier-ignore
          headline.speedup.textContent = chain ? times(chain.ms / flash.ms) : '–';
          return;
        }
        case 'remark':
          remark.textContent = report.text;
      }
    },
  };
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
