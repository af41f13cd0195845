/** The marks of the two ways, by shape as well as by colour, and the legend that names them. */
import {symbol, symbolCircle, symbolDiamond} from 'd3-shape';
import type {Both} from '../messages';
import {svg} from './dom';

const SHAPES: Both<string> = {
  chain: symbol(symbolCircle, 60)() ?? '',
  flash: symbol(symbolDiamond, 70)() ?? '',
};

export function mark(name: keyof Both<unknown>, x: number, y: number): SVGElement {
  return svg('path', {class: `mark ${name}`, d: SHAPES[name], transform: `translate(${x},${y})`});
}

/** Right-aligned above the chart. */
export function legend(right: number, y: number): SVGElement[] {
  const label = {dy: '0.32em', y};
  return [
    mark('chain', right - 112, y),
    svg('text', {...label, x: right - 102}, 'chain'),
    mark('flash', right - 44, y),
    svg('text', {...label, x: right - 34}, 'flash'),
  ];
}
