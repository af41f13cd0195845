/** The picture of a step: the scores in their tiles with the running maximum, and which tiles each sweep has read. */
import {scaleBand, scaleLinear} from 'd3-scale';
import {drawing, svg} from '../page/dom';
import {SCORES, TILE, TILES} from './walk';
import type {Walk} from './walk';
import {stepWords} from './words';

export interface Shown {
  walk: Walk;
  /** Index of the step; −1 before the first. */
  at: number;
}

const BARS = {top: 26, height: 120};
const ROW = 30;
const GAP = 34;
/** Below this width the sweeps' names stand above their rows. */
const NARROW = 520;

export function drawStep({walk, at}: Shown, width: number): SVGSVGElement {
  const {sweeps, steps, title} = walk;
  const isNarrow = width < NARROW;
  const left = isNarrow ? 2 : 226;
  const rowHeight = isNarrow ? ROW + 18 : ROW;
  const top = BARS.top + BARS.height + GAP;
  const step = at < 0 ? null : steps[at];
  const x = scaleBand<number>([...SCORES.keys()], [left, width - 2])
    .paddingInner(0.25)
    .paddingOuter(0.15);
  const tileX = (tile: number): number => x(tile * TILE)! - 0.12 * x.step();
  const tileWidth = TILE * x.step() - 4;

  const cells = sweeps.flatMap((sweep, s) => {
    const y = top + s * rowHeight;
    const cellTop = isNarrow ? y + 14 : y;
    const label = isNarrow
      ? {x: left, y: y + 9, 'text-anchor': 'start'}
      : {x: left - 12, y: y + ROW / 2 + 1, 'text-anchor': 'end'};
    return [
      svg('text', {...label, class: step?.sweep === s ? 'current' : ''}, `${s + 1}  ${sweep}`),
      ...Array.from({length: TILES}, (_, tile) => {
        const order = s * TILES + tile;
        const state = order === at ? 'now' : order < at ? 'done' : 'ahead';
        return svg('rect', {
          class: `tile ${state}`,
          x: tileX(tile),
          y: cellTop,
          width: tileWidth,
          height: ROW - 8,
          rx: 3,
        });
      }),
    ];
  });

  return drawing(
    {
      width,
      height: top + sweeps.length * rowHeight,
      title: `Tiles of ${title}`,
      description: stepWords(walk, at),
    },
    ...bars(),
    svg('text', {class: 'title', x: left, y: top - 12}, isNarrow ? 'sweeps over slow memory' : 'tiles read'),
    ...cells,
  );

  function bars(): SVGElement[] {
    const base = BARS.top + BARS.height;
    const least = Math.min(0, ...SCORES);
    const y = scaleLinear([least, Math.max(...SCORES)], [base, BARS.top]);
    const drawn = [...SCORES].flatMap((score, j) => {
      const tile = Math.floor(j / TILE);
      const state = !step ? 'ahead' : tile === step.tile ? 'now' : tile < step.tile ? 'done' : 'ahead';
      const [from, to] = [Math.min(y(0), y(score)), Math.max(y(0), y(score))];
      return [
        svg('rect', {class: `score ${state}`, x: x(j)!, y: from, width: x.bandwidth(), height: Math.max(1, to - from)}),
      ];
    });
    const band = step
      ? [
          svg('rect', {
            class: 'band',
            x: tileX(step.tile),
            y: BARS.top - 8,
            width: tileWidth,
            height: BARS.height + 16,
            rx: 4,
          }),
        ]
      : [];
    return [
      ...band,
      svg('text', {class: 'title', x: left, y: 12}, 'scores of 16 keys'),
      svg('line', {class: 'axis', x1: left, x2: width - 2, y1: y(0), y2: y(0)}),
      ...drawn,
      ...maximumLine(y),
    ];
  }

  function maximumLine(y: (value: number) => number): SVGElement[] {
    if (step?.rowMax == null) return [];
    const at = y(step.rowMax);
    return [
      svg('line', {class: 'maximum', x1: left, x2: width - 2, y1: at, y2: at}),
      svg('text', {class: 'maximum', x: width - 4, y: at - 5, 'text-anchor': 'end'}, `max ${step.rowMax.toFixed(2)}`),
    ];
  }
}
