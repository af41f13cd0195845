/** Quantities as the page writes them; no line breaks inside. */
import {si} from '../../../src/cli/quantity';

const NO_BREAK = '\u00a0';

export function quantity(value: number, unit: string): string {
  return value === 0 ? `0${NO_BREAK}${unit}` : `${si(value)}${unit}`.replace(' ', NO_BREAK);
}

/** Without digits that say nothing: 10 ms where `quantity` has 10.0 ms. */
export function roundQuantity(value: number, unit: string): string {
  return quantity(value, unit).replace(/\.0+(?=\D)/, '');
}

export function duration(ms: number): string {
  return quantity(ms / 1e3, 's');
}

/** 0.00000038 as 3.8e-7. */
export function deviation(value: number): string {
  return Number.isNaN(value) ? 'NaN' : value === 0 ? '0' : value.toExponential(1).replace('-', '−');
}

/** 3.97 as 4.0×, 380.2 as 380×. */
export function times(ratio: number): string {
  return Number.isFinite(ratio)
    ? `${ratio >= 10 ? Math.round(ratio).toLocaleString('en') : ratio.toPrecision(2)}×`
    : '–';
}
