/** The section with the device's roofline and the two ways on it. */
import {line} from 'd3-shape';
import type {Explanation} from 'tfjs-flash-attention';
import type {Both, Report, Roofs} from '../messages';
import {decades, frame} from './axes';
import {byId, drawing, picture, svg} from './dom';
import {legend, mark} from './marks';
import {boundSentence} from './plan_words';
import {quantity, roundQuantity} from './quantity';

const HEIGHT = 340;

/** FLOPs per byte by the model of `explain`, and FLOP/s as measured. */
interface Point {
  intensity: number;
  rate: number;
}

interface Chart {
  roofs: Roofs;
  points: {chain: Point | null; flash: Point};
}

export interface RooflineView {
  hear: (report: Report) => void;
}

export function rooflineView(): RooflineView {
  const [place, caption] = [byId('roofline', HTMLElement), byId('roofline-caption', HTMLElement)];
  const show = picture(place, drawRoofline);
  const nothingYet = document.createElement('p');
  nothingYet.className = 'hint';
  nothingYet.textContent = 'Nothing measured yet: press Run.';
  place.append(nothingYet);
  let milliseconds: {chain: number | null; flash: number} | null = null;
  return {
    hear: report => {
      if (report.kind === 'times') {
        milliseconds = {chain: report.times.chain?.ms ?? null, flash: report.times.flash.ms};
      }
      if (report.kind !== 'roofs' || !milliseconds) return;
      const {roofs, explanation} = report;
      const chart = {roofs, points: pointsOf(explanation, milliseconds)};
      show(chart);
      caption.textContent = captionOf(chart, explanation);
    },
  };
}

function pointsOf({flops, bytes, intensity}: Explanation, ms: {chain: number | null; flash: number}): Chart['points'] {
  const chainFlops = intensity.unfused * bytes.unfused;
  return {
    flash: {intensity: intensity.fused, rate: flops / (ms.flash / 1e3)},
    chain: ms.chain === null ? null : {intensity: intensity.unfused, rate: chainFlops / (ms.chain / 1e3)},
  };
}

function captionOf({roofs, points}: Chart, explanation: Explanation): string {
  const {flops, side, bandwidth, copyBytes} = roofs;
  const isAbove = [points.chain, points.flash].some(point => point && point.rate > roofOver(roofs, point));
  return (
    `Measured on this backend: ${quantity(flops, 'FLOP/s')} by tf.matMul of two ${side} × ${side} matrices, ` +
    `${quantity(bandwidth, 'B/s')} by a copy of ${quantity(copyBytes, 'B')} (tf.neg, read and written). ` +
    `${boundSentence(explanation)} FLOPs per byte are those of explain’s model.` +
    (isAbove ? ' A point above the roof is faster than what the backend’s own ops reach.' : '')
  );
}

function roofOver({flops, bandwidth}: Roofs, {intensity}: Point): number {
  return Math.min(flops, bandwidth * intensity);
}

function drawRoofline({roofs, points}: Chart, width: number): SVGSVGElement {
  const {flops, bandwidth} = roofs;
  const ridge = flops / bandwidth;
  const present = [points.chain, points.flash].filter(point => point !== null);
  const xAxis = decades([ridge, ...present.map(({intensity}) => intensity)].flatMap(value => [value / 2, value * 2]));
  const [least, most] = xAxis.domain;
  const roof = (intensity: number): number => Math.min(flops, bandwidth * intensity);
  const rates = [roof(least) / 2, ...present.map(({rate}) => rate / 2), flops * 1.5];
  const {x, y, left, right, top, marks} = frame(
    width,
    HEIGHT,
    {...xAxis, label: plain, title: 'FLOPs per byte of main memory'},
    {...decades(rates), label: value => roundQuantity(value, ''), title: 'FLOP/s'},
  );
  const corners = [least, Math.max(least, Math.min(most, ridge)), most].map((at): [number, number] => [
    x(at),
    y(roof(at)),
  ]);
  const point = (name: keyof Both<Point>): SVGElement[] => {
    const at = points[name];
    if (!at) return [];
    const [px, py, roofY] = [x(at.intensity), y(at.rate), y(roof(at.intensity))];
    const anchor = px < left + 60 ? 'start' : px > right - 60 ? 'end' : 'middle';
    // On the side of the point where the roof is not.
    const label = {class: `value ${name}`, x: px, y: py < roofY ? py - 14 : py + 24, 'text-anchor': anchor};
    return [
      svg('line', {class: `drop ${name}`, x1: px, x2: px, y1: py, y2: roofY}),
      mark(name, px, py),
      svg('text', label, quantity(at.rate, 'FLOP/s')),
    ];
  };
  return drawing(
    {width, height: HEIGHT, title: 'Roofline of this device', description: rooflineWords({roofs, points})},
    ...marks,
    svg('path', {class: 'roof', d: line()(corners) ?? ''}),
    svg('text', {x: left + 8, y: y(roof(least)) + 20}, `copy ${quantity(bandwidth, 'B/s')}`),
    svg('text', {x: right - 4, y: y(flops) - 8, 'text-anchor': 'end'}, `matMul ${quantity(flops, 'FLOP/s')}`),
    ...legend(right, top - 18),
    ...point('chain'),
    ...point('flash'),
  );
}

function rooflineWords({roofs, points}: Chart): string {
  const {flops, bandwidth} = roofs;
  const ridge = plain(flops / bandwidth);
  const said = (['chain', 'flash'] as const).flatMap(name => {
    const point = points[name];
    return point ? [`${name}: ${quantity(point.rate, 'FLOP/s')} at ${plain(point.intensity)} FLOPs per byte`] : [];
  });
  return `The roof rises with ${quantity(bandwidth, 'B/s')} up to ${quantity(flops, 'FLOP/s')} from ${ridge} FLOPs per byte on. ${said.join('; ')}.`;
}

function plain(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(2)));
}
