/** The frame of a log–log chart: grid, numbers and titles; d3's scales. */
import {scaleLog} from 'd3-scale';
import type {ScaleLogarithmic} from 'd3-scale';
import {svg} from './dom';

export interface Axis {
  /** From the least to the largest value. */
  domain: [number, number];
  ticks: number[];
  label: (value: number) => string;
  title: string;
}

export interface Frame {
  x: ScaleLogarithmic<number, number>;
  y: ScaleLogarithmic<number, number>;
  left: number;
  right: number;
  top: number;
  bottom: number;
  marks: SVGElement[];
}

const MARGIN = {top: 30, right: 18, bottom: 46, left: 70};
/** Width of a number with the space around it. */
const LABEL_WIDTH = 44;

export function frame(width: number, height: number, xAxis: Axis, yAxis: Axis): Frame {
  const [left, right, top, bottom] = [MARGIN.left, width - MARGIN.right, MARGIN.top, height - MARGIN.bottom];
  const x = scaleLog(xAxis.domain, [left, right]);
  const y = scaleLog(yAxis.domain, [bottom, top]);
  const every = Math.ceil((xAxis.ticks.length * LABEL_WIDTH) / (right - left));
  const marks = [
    ...yAxis.ticks.flatMap(value => [
      svg('line', {class: 'grid', x1: left, x2: right, y1: y(value), y2: y(value)}),
      svg('text', {x: left - 8, y: y(value), dy: '0.32em', 'text-anchor': 'end'}, yAxis.label(value)),
    ]),
    ...xAxis.ticks.flatMap((value, n) => [
      svg('line', {class: 'grid', x1: x(value), x2: x(value), y1: top, y2: bottom}),
      ...(n % every === 0
        ? [svg('text', {x: x(value), y: bottom + 18, 'text-anchor': 'middle'}, xAxis.label(value))]
        : []),
    ]),
    svg('text', {class: 'title', x: left, y: top - 14}, yAxis.title),
    svg('text', {class: 'title', x: right, y: bottom + 38, 'text-anchor': 'end'}, xAxis.title),
  ];
  return {x, y, left, right, top, bottom, marks};
}

/** The decades that hold all values, never fewer than one. */
export function decades(values: number[]): {domain: [number, number]; ticks: number[]} {
  const first = Math.floor(Math.log10(Math.min(...values)));
  const last = Math.max(first + 1, Math.ceil(Math.log10(Math.max(...values))));
  const ticks = Array.from({length: last - first + 1}, (_, n) => 10 ** (first + n));
  return {domain: [ticks[0], ticks[ticks.length - 1]], ticks};
}
