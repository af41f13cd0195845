/** The walk through the tiles: which way, back and forth, and what is known after each step. */
import {byId, html, picture, row} from '../page/dom';
import {drawStep} from './picture';
import {walk} from './walk';
import type {Step, Walk, WayName} from './walk';
import {stepWords} from './words';

const NAMES: WayName[] = ['safe', 'online', 'flash'];
const DASH = '–';
/** Before the first step. */
const UNREAD: Pick<Step, 'rowMax' | 'rowSum' | 'output' | 'reads' | 'writes'> = {
  rowMax: null, rowSum: null, output: null, reads: 0, writes: 0,
}; // prettier-ignore

export function showTiles(place: HTMLElement): void {
  const walks = Object.fromEntries(NAMES.map(name => [name, walk(name)])) as Record<WayName, Walk>;
  let [name, at]: [WayName, number] = ['safe', -1];

  place.append(
    html(
      'fieldset',
      {class: 'ways'},
      html('legend', {}, 'Way'),
      ...NAMES.map(each => {
        const {title, sweeps} = walks[each];
        const count = `${sweeps.length} ${sweeps.length === 1 ? 'sweep' : 'sweeps'}`;
        const input = html('input', {type: 'radio', name: 'way', value: each, checked: each === name});
        return html('label', {class: 'check'}, input, ` ${title} `, html('small', {}, count));
      }),
    ),
    html(
      'div',
      {class: 'actions'},
      html('button', {type: 'button', id: 'step-back'}, 'Back'),
      html('button', {type: 'button', id: 'step-next', class: 'primary'}, 'Next tile'),
      html('button', {type: 'button', id: 'step-restart'}, 'Start again'),
    ),
    html('p', {id: 'step-words', class: 'prose', role: 'status'}),
    html('div', {id: 'step-picture', class: 'picture clickable'}),
    html('table', {id: 'step-state', class: 'data'}, html('caption', {}, 'Known after this step'), html('tbody')),
  );

  const draw = picture(byId('step-picture', HTMLElement), drawStep);
  const show = (): void => {
    const shown = walks[name];
    const {steps} = shown;
    draw({walk: shown, at});
    byId('step-words', HTMLElement).textContent = stepWords(shown, at);
    setDisabled('step-back', at < 0);
    setDisabled('step-restart', at < 0);
    setDisabled('step-next', at === steps.length - 1);
    const {rowMax, rowSum, output, reads, writes} = at < 0 ? UNREAD : steps[at];
    const last = steps[steps.length - 1];
    byId('step-state', HTMLTableElement).tBodies[0].replaceChildren(
      row('running maximum m', rowMax?.toFixed(2) ?? DASH),
      row('running sum ℓ', rowSum?.toFixed(2) ?? DASH),
      row('output o', output?.map(value => value.toFixed(2)).join(', ') ?? DASH),
      row('read from slow memory', `${reads} of ${last.reads} numbers`),
      row('written to it', `${writes} of ${last.writes} numbers`),
    );
  };
  const go = (to: number): void => {
    at = Math.max(-1, Math.min(walks[name].steps.length - 1, to));
    show();
  };

  byId('step-next', HTMLElement).addEventListener('click', () => go(at + 1));
  byId('step-picture', HTMLElement).addEventListener('click', () => go(at + 1));
  byId('step-back', HTMLElement).addEventListener('click', () => go(at - 1));
  byId('step-restart', HTMLElement).addEventListener('click', () => go(-1));
  place.addEventListener('change', ({target}) => {
    if (!(target instanceof HTMLInputElement)) return;
    name = NAMES.find(each => each === target.value) ?? name;
    go(-1);
  });
  show();
}

/** Not the attribute `disabled`, which would take the focus away from who steps by keyboard. */
function setDisabled(id: string, isDisabled: boolean): void {
  byId(id, HTMLElement).setAttribute('aria-disabled', String(isDisabled));
}
