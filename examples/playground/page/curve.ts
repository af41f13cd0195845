/** The section with the two curves over N, drawn point by point. */
import {line} from 'd3-shape';
import type {CurvePoint, Report, Settings} from '../messages';
import {decades, frame} from './axes';
import {byId, drawing, picture, row, svg} from './dom';
import {legend, mark} from './marks';
import {duration, roundQuantity, times} from './quantity';
import {captionOf} from './result';

const HEIGHT = 320;

interface Curve {
  sizes: number[];
  points: CurvePoint[];
  caption: string;
}

export interface CurveView {
  start: (settings: Settings, sizes: number[]) => void;
  hear: (report: Report) => void;
}

export function curveView(): CurveView {
  const show = picture(byId('curve', HTMLElement), drawCurve);
  const [remark, table] = [byId('curve-remark', HTMLElement), byId('curve-table', HTMLTableElement)];
  let curve: Curve = {sizes: [64, 128, 256, 512, 1024, 2048], points: [], caption: 'nothing measured yet'};
  show(curve);
  return {
    start: (settings, sizes) => {
      remark.textContent = '';
      table.tBodies[0].replaceChildren();
      curve = {sizes, points: [], caption: captionOf(settings, 'N')};
      show(curve);
    },
    hear: report => {
      if (report.kind === 'remark') remark.textContent = report.text;
      if (report.kind !== 'point') return;
      const {N, chain, flash} = report.point;
      const ofChain = chain === null ? ['not run', '–'] : [duration(chain), times(chain / flash)];
      table.tBodies[0].append(row(N.toLocaleString('en'), ofChain[0], duration(flash), ofChain[1]));
      curve.points.push(report.point);
      show(curve);
    },
  };
}

function drawCurve({sizes, points, caption}: Curve, width: number): SVGSVGElement {
  const all = points.flatMap(({flash, chain}) => (chain === null ? [flash] : [flash, chain]));
  const {x, y, left, right, top, bottom, marks} = frame(
    width,
    HEIGHT,
    {
      domain: [sizes[0] / 1.25, sizes[sizes.length - 1] * 1.25],
      ticks: sizes,
      label: String,
      title: 'N, queries and keys',
    },
    {...decades(all.length > 0 ? all : [0.1, 100]), label: ms => roundQuantity(ms / 1e3, 's'), title: 'time a call'},
  );
  const path = line(
    ([N]) => x(N),
    ([, ms]) => y(ms),
  );
  const ofFlash = points.map(({N, flash}): [number, number] => [N, flash]);
  const ofChain = points.flatMap(({N, chain}): Array<[number, number]> => (chain === null ? [] : [[N, chain]]));
  const series = (name: 'chain' | 'flash', values: Array<[number, number]>): SVGElement[] => [
    svg('path', {class: `curve ${name}`, d: path(values) ?? ''}),
    ...values.map(([N, ms]) => mark(name, x(N), y(ms))),
  ];
  return drawing(
    {width, height: HEIGHT, title: `Time over N, ${caption}`, description: curveWords(points)},
    ...marks,
    ...legend(right, top - 18),
    ...(points.length === 0
      ? [svg('text', {class: 'hint', x: (left + right) / 2, y: (top + bottom) / 2, 'text-anchor': 'middle'}, caption)]
      : []),
    ...series('chain', ofChain),
    ...series('flash', ofFlash),
  );
}

function curveWords(points: CurvePoint[]): string {
  if (points.length === 0) return 'No points yet.';
  const said = points.map(({N, chain, flash}) => {
    const ofChain = chain === null ? 'the chain not run' : `chain ${duration(chain)}`;
    return `N ${N}: ${ofChain}, flash ${duration(flash)}`;
  });
  return `${said.join('; ')}.`;
}
