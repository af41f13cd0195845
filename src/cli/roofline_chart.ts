/** The roofline as an SVG: the machine's roof, log–log, and on it each size unfused and fused. */
import type {Machine} from '../../kernels/machines';
import type {Roofline, RooflinePoint} from '../../kernels/roofline';
import {si} from './quantity';

/** One line of the table: the sizes asked for and what they come to. */
export interface RooflineRow extends Omit<Roofline, 'machine' | 'ridge'> {
  n: number;
  d: number;
}

const WIDTH = 960;
const HEIGHT = 540;
const MARGIN = {top: 56, right: 300, bottom: 56, left: 84};
const INK = '#222';
const GRID = '#e4e4e4';
const UNFUSED = '#b3541e';
const FUSED = '#1f5fa8';

/** @returns the text of an SVG file; the scales and shapes are d3's, loaded only here. */
export async function rooflineChart(machine: Machine, ridge: number, rows: RooflineRow[]): Promise<string> {
  const [{scaleLog}, {line, symbol, symbolCircle, symbolDiamond}] = await Promise.all([
    import('d3-scale'),
    import('d3-shape'),
  ]);
  const points = rows.flatMap(({unfused, fused}) => [unfused, fused]);
  const intensities = [...points.map(({intensity}) => intensity), ridge];
  const right = WIDTH - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  const x = scaleLog([Math.min(...intensities) / 3, Math.max(...intensities) * 3], [MARGIN.left, right]).nice();
  const roof = (intensity: number): number => Math.min(machine.flops, machine.bandwidth * intensity);
  const lowest = Math.min(roof(x.domain()[0]), ...points.map(({flopsPerSecond}) => flopsPerSecond));
  const y = scaleLog([lowest, machine.flops * 2], [bottom, MARGIN.top]).nice();

  const tenths = (domain: number[]): number[] => decades(domain[0], domain[1]);
  const vertical = tenths(x.domain()).map(
    value =>
      `<path d="M${x(value)},${MARGIN.top}V${bottom}" stroke="${GRID}"/>` +
      text(x(value), bottom + 20, plain(value), 'text-anchor="middle"'),
  );
  const horizontal = tenths(y.domain()).map(
    value =>
      `<path d="M${MARGIN.left},${y(value)}H${right}" stroke="${GRID}"/>` +
      text(MARGIN.left - 8, y(value) + 4, si(value), 'text-anchor="end"'),
  );
  const corners = [x.domain()[0], ridge, x.domain()[1]].map((at): [number, number] => [x(at), y(roof(at))]);
  const circle = symbol(symbolCircle, 80)();
  const diamond = symbol(symbolDiamond, 90)();
  const place = ({intensity, flopsPerSecond}: RooflinePoint): [number, number] => [x(intensity), y(flopsPerSecond)];
  const marks = [
    ...merged(rows.map(({unfused}) => place(unfused))).map(each => mark(each, circle, UNFUSED, 20)),
    ...merged(rows.map(({fused}) => place(fused))).map(each => mark(each, diamond, FUSED, -12)),
  ];
  const legend = rows.map(({n, d, unfused, fused}, i) =>
    text(
      right + 20,
      MARGIN.top + 70 + 18 * i,
      `${i + 1}: N ${n}, d ${d}: ${plain(unfused.intensity)} and ${plain(fused.intensity)}`,
    ),
  );
  const height = Math.max(HEIGHT, MARGIN.top + 90 + 18 * rows.length);

  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" font-family="sans-serif" font-size="13" fill="${INK}">`,
    `<title>Roofline of attention on ${escape(machine.name)}</title>`,
    `<desc>FLOP/s that the machine can reach over FLOPs per byte of main memory; circles: unfused, diamonds: fused.</desc>`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    text(MARGIN.left, 30, `Attention on ${machine.name}`, 'font-size="16" font-weight="bold"'),
    ...vertical,
    ...horizontal,
    `<path d="${line()(corners)}" fill="none" stroke="${INK}" stroke-width="2"/>`,
    text(x(ridge), y(machine.flops) - 10, `${Math.round(ridge)} FLOPs per byte`, 'text-anchor="middle"'),
    ...marks,
    text((MARGIN.left + right) / 2, bottom + 44, 'FLOPs per byte of main memory', 'text-anchor="middle"'),
    text(MARGIN.left - 60, MARGIN.top - 12, 'FLOP/s'),
    `<path d="${circle}" transform="translate(${right + 28},${MARGIN.top + 10})" fill="#fff" stroke="${UNFUSED}" stroke-width="2"/>`,
    text(right + 44, MARGIN.top + 14, 'unfused: matMul, softmax, matMul'),
    `<path d="${diamond}" transform="translate(${right + 28},${MARGIN.top + 34})" fill="${FUSED}"/>`,
    text(right + 44, MARGIN.top + 38, 'fused: one kernel'),
    ...legend,
    '</svg>\n',
  ].join('\n');
}

/** The powers of ten from `from` to `to`. */
function decades(from: number, to: number): number[] {
  const first = Math.ceil(Math.log10(from) - 1e-9);
  const last = Math.floor(Math.log10(to) + 1e-9);
  return Array.from({length: last - first + 1}, (_, i) => 10 ** (first + i));
}

interface Mark {
  x: number;
  y: number;
  /** Numbers of the rows that lie here. */
  label: string;
}

/** One mark for all rows that would lie on one another. */
function merged(places: Array<[number, number]>): Mark[] {
  const marks: Mark[] = [];
  places.forEach(([x, y], i) => {
    const near = marks.find(other => Math.hypot(other.x - x, other.y - y) < 12);
    if (near) near.label += `, ${i + 1}`;
    else marks.push({x, y, label: `${i + 1}`});
  });
  return marks;
}

function mark({x, y, label}: Mark, shape: string | null, color: string, below: number): string {
  const fill = color === FUSED ? color : '#fff';
  return (
    `<path d="${shape}" transform="translate(${x.toFixed(1)},${y.toFixed(1)})" fill="${fill}" stroke="${color}" stroke-width="2"/>` +
    text(x, y + below, label, `text-anchor="middle" font-size="11" fill="${color}"`)
  );
}

function plain(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(2).replace(/\.0$/, '');
}

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escape(content)}</text>`;
}

function escape(content: string): string {
  return content.replace(/[&<>"]/g, character => `&#${character.charCodeAt(0)};`);
}
