/** The form: what it asks for as settings, or one line about what is wrong with it. */
import {BACKENDS} from '../messages';
import type {Settings} from '../messages';

/** Largest value of each size; the least is 1. */
const LARGEST = {B: 64, H: 128, N: 65536, D: 1024} as const;
const SIZES = ['B', 'H', 'N', 'D'] as const;
/** Bytes that each of q, k and v may take. */
const LARGEST_TENSOR = 2 ** 28;

/** What is wrong, and the field to mend. */
export class FormError extends Error {
  constructor(
    readonly field: HTMLInputElement,
    message: string,
  ) {
    super(message);
  }
}

/** @param needsN false where N comes from elsewhere. @throws FormError */
export function readSettings(form: HTMLFormElement, needsN = true): Settings {
  const [B, H, N, D] = SIZES.map(name => (name === 'N' && !needsN ? 1 : size(form, name)));
  const bytes = 4 * B * H * N * D;
  if (bytes > LARGEST_TENSOR) {
    const megabytes = (value: number): string => `${Math.round(value / 1e6).toLocaleString('en')} MB`;
    throw new FormError(
      field(form, 'N'),
      `q, k and v of these sizes would take ${megabytes(bytes)} each: at most ${megabytes(LARGEST_TENSOR)}.`,
    );
  }
  return {
    backend: BACKENDS.find(name => name === new FormData(form).get('backend')) ?? 'cpu',
    B, H, N, D,
    causal: field(form, 'causal').checked,
    window: [side(form, 'left'), side(form, 'right')],
    float16: field(form, 'float16').checked,
  }; // prettier-ignore
}

function size(form: HTMLFormElement, name: (typeof SIZES)[number]): number {
  return wholeNumber(field(form, name), name, 1, LARGEST[name]);
}

/** −1 where the field is empty. */
function side(form: HTMLFormElement, name: 'left' | 'right'): number {
  const input = field(form, name);
  return input.value.trim() === '' ? -1 : wholeNumber(input, `window, ${name},`, 0, LARGEST.N);
}

function wholeNumber(input: HTMLInputElement, name: string, least: number, most: number): number {
  const text = input.value.trim();
  const value = Number(text);
  if (text === '' || !Number.isInteger(value) || value < least || value > most) {
    const got = text === '' ? 'nothing' : text.slice(0, 20);
    throw new FormError(
      input,
      `${name} must be a whole number from ${least} to ${most.toLocaleString('en')}, but got ${got}.`,
    );
  }
  return value;
}

function field(form: HTMLFormElement, name: string): HTMLInputElement {
  return form.elements.namedItem(name) as HTMLInputElement;
}

/** Fills the form from an address such as ?backend=wasm&N=256&causal=1. */
export function prefill(form: HTMLFormElement, query: URLSearchParams): void {
  for (const name of [...SIZES, 'left', 'right']) {
    const value = query.get(name);
    if (value !== null) field(form, name).value = value;
  }
  for (const name of ['causal', 'float16']) field(form, name).checked = query.has(name);
}

/** The address that brings these settings back. */
export function addressOf({backend, B, H, N, D, causal, window: [left, right], float16}: Settings): string {
  const query = new URLSearchParams({backend, ...textual({B, H, N, D})});
  if (causal) query.set('causal', '1');
  if (float16) query.set('float16', '1');
  if (left >= 0) query.set('left', String(left));
  if (right >= 0) query.set('right', String(right));
  return `?${query}`;
}

function textual(sizes: Record<string, number>): Record<string, string> {
  return Object.fromEntries(Object.entries(sizes).map(([name, value]) => [name, String(value)]));
}
