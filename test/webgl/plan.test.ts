/** The cuts of a WebGL call: everything is covered once, and every texture fits, whatever the device's limits. */
import * as fc from 'fast-check';
import {attentionProblem, visibleKeys} from '../../kernels/problem';
import {
  blocksSeen,
  blockSteps,
  planBlocks,
  planChunks,
  planParts,
  planSoftmax,
  TILE_ROWS,
} from '../../kernels/webgl/plan';
import type {Sides, WebGLLimits} from '../../kernels/webgl/plan';

const limits = fc.record({
  textureSize: fc.constantFrom(8, 24, 100, 4096, 16384),
  lanes: fc.constantFrom(4 as const, 8 as const),
});
const sides: fc.Arbitrary<Sides> = fc.record({
  heads: fc.integer({min: 1, max: 40}),
  rows: fc.integer({min: 1, max: 1500}),
  otherRows: fc.integer({min: 1, max: 20000}),
  texels: fc.integer({min: 1, max: 8}),
  sumRows: fc.integer({min: 1, max: 8}),
});

const chunksOf = (s: Sides, l: WebGLLimits, isWindowed: boolean) =>
  planParts(s, l).map(part => ({part, chunks: planChunks(part, planBlocks(s, l), l, isWindowed)}));

it('covers every tile of every head once', () => {
  fc.assert(
    fc.property(sides, limits, fc.boolean(), (s, l, isWindowed) => {
      const seen = new Uint8Array(s.heads * Math.ceil(s.rows / TILE_ROWS));
      for (const {part, chunks} of chunksOf(s, l, isWindowed)) {
        for (const chunk of chunks) {
          for (let h = 0; h < chunk.heads; h++) {
            for (let t = 0; t < chunk.tiles; t++) {
              const head = part.firstHead + chunk.firstHead + h;
              seen[head * Math.ceil(s.rows / TILE_ROWS) + part.firstRow / TILE_ROWS + chunk.firstTile + t]++;
            }
          }
        }
      }
      expect(seen.every(n => n === 1)).toBe(true);
    }),
  );
});

it('keeps every texture within the device and a block within 512 rows and 64 MiB', () => {
  fc.assert(
    fc.property(sides, limits, fc.boolean(), (s, l, isWindowed) => {
      const blocks = planBlocks(s, l);
      expect(blocks.rows).toBeLessThanOrEqual(512);
      expect(blocks.rows * blocks.count).toBeGreaterThanOrEqual(s.otherRows);
      let largestBlock = 0;
      let largest = blocks.rows * Math.min(blocks.perSpan, blocks.count);
      for (const {part, chunks} of chunksOf(s, l, isWindowed)) {
        largest = Math.max(largest, part.tiles * TILE_ROWS, part.heads * s.texels, part.heads * s.sumRows);
        for (const chunk of chunks) {
          largest = Math.max(largest, chunk.tiles, chunk.heads * blocks.groups);
          largestBlock = Math.max(largestBlock, chunk.tiles * chunk.heads * blocks.groups * l.lanes * 16);
        }
      }
      expect(largest).toBeLessThanOrEqual(l.textureSize);
      expect(largestBlock).toBeLessThanOrEqual(2 ** 26);
    }),
  );
});

it('skips a block only where no row of the chunk sees a key of it', () => {
  const size = fc.integer({min: 1, max: 60});
  const bound = fc.integer({min: -1, max: 30});
  fc.assert(
    fc.property(
      size,
      size,
      bound,
      bound,
      fc.integer({min: -70, max: 70}),
      fc.boolean(),
      (Sq, Sk, left, right, offset, ofKeys) => {
        const specs = {q: spec(Sq), k: spec(Sk), v: spec(Sk)};
        const problem = attentionProblem('flashAttention', specs, {window: [left, right], queryOffset: offset});
        const rows = ofKeys ? Sk : Sq;
        const blocks = planBlocks(
          {heads: 1, rows, otherRows: ofKeys ? Sq : Sk, texels: 1, sumRows: 1},
          {textureSize: 16, lanes: 4},
        );
        const skipped: number[][] = [];
        for (let first = 0; first < rows; first += 8) {
          const [from, to] = blocksSeen(problem, ofKeys, first, Math.min(8, rows - first), blocks);
          for (let i = 0; i < Sq; i++) {
            const visible = visibleKeys(problem, i, offset);
            for (let j = visible.from; j < visible.to; j++) {
              const [row, other] = ofKeys ? [j, i] : [i, j];
              if (row < first || row >= Math.min(rows, first + 8)) continue;
              const block = Math.floor(other / blocks.rows);
              if (block < from || block >= to) skipped.push([i, j]);
            }
          }
        }
        expect(skipped).toEqual([]);
      },
    ),
  );
});

it('draws every tile by the last step, each block for all tiles that see it, and sums on only where it summed before', () => {
  const size = fc.integer({min: 1, max: 60});
  const bound = fc.integer({min: -1, max: 30});
  const offset = fc.integer({min: -70, max: 70});
  const cut = fc.integer({min: 0, max: 10});
  fc.assert(
    fc.property(
      size,
      size,
      bound,
      bound,
      offset,
      fc.boolean(),
      cut,
      cut,
      (Sq, Sk, left, right, queryOffset, ofKeys, a, b) => {
        const specs = {q: spec(Sq), k: spec(Sk), v: spec(Sk)};
        const problem = attentionProblem('flashAttention', specs, {window: [left, right], queryOffset});
        const [rows, otherRows] = ofKeys ? [Sk, Sq] : [Sq, Sk];
        const blocks = planBlocks({heads: 1, rows, otherRows, texels: 1, sumRows: 1}, {textureSize: 16, lanes: 4});
        const allTiles = Math.ceil(rows / TILE_ROWS);
        const partTile = Math.min(a, allTiles - 1);
        const firstRow = partTile * TILE_ROWS;
        const part = {firstHead: 0, heads: 1, firstRow, rows: rows - firstRow, tiles: allTiles - partTile};
        const firstTile = Math.min(b, part.tiles - 1);
        const chunk = {firstTile, tiles: part.tiles - firstTile, firstHead: 0, heads: 1};
        const steps = blockSteps(problem, ofKeys, part, chunk, blocks, 2);
        const summed = new Set<number>();
        for (const {drawn, started} of steps) {
          const before = [...summed].sort((x, y) => x - y);
          expect(before).toEqual(Array.from({length: Math.max(0, started[1] - started[0])}, (_, n) => started[0] + n));
          for (let tile = drawn[0]; tile < drawn[1]; tile++) summed.add(tile);
          expect(before.every(tile => tile >= drawn[0] && tile < drawn[1])).toBe(true);
        }
        expect(steps.at(-1)!.drawn).toEqual([firstTile, part.tiles]);
        for (let i = 0; i < Sq; i++) {
          const visible = visibleKeys(problem, i, queryOffset);
          for (let j = visible.from; j < visible.to; j++) {
            const [row, other] = ofKeys ? [j, i] : [i, j];
            const tile = Math.floor((row - firstRow) / TILE_ROWS);
            if (tile < firstTile) continue;
            const drawing = steps.filter(({block}) => block === Math.floor(other / blocks.rows));
            expect(drawing.map(({drawn}) => tile >= drawn[0] && tile < drawn[1])).toEqual([true, true]);
          }
        }
      },
    ),
  );
});

it('draws half of the tiles of a causal call', () => {
  const problem = attentionProblem('flashAttention', {q: spec(4096), k: spec(4096), v: spec(4096)}, {causal: true});
  const sides = {heads: 1, rows: 4096, otherRows: 4096, texels: 1, sumRows: 1};
  const limits = {textureSize: 16384, lanes: 8 as const};
  const [part] = planParts(sides, limits);
  for (const ofKeys of [false, true]) {
    const blocks = planBlocks(sides, limits);
    const [chunk] = planChunks(part, blocks, limits, false);
    const steps = blockSteps(problem, ofKeys, part, chunk, blocks, 1);
    const drawn = steps.reduce((sum, {drawn: [from, to]}) => sum + to - from, 0);
    expect(drawn / (part.tiles * blocks.count)).toBe((blocks.count + 1) / 2 / blocks.count);
  }
});

it('gives every segment of a softmax its place', () => {
  const count = fc.integer({min: 1, max: 100000});
  fc.assert(
    fc.property(count, count, (rows, classes) => {
      const {segments, perSegment, width, height} = planSoftmax(rows, classes, {textureSize: 4096, lanes: 8});
      expect(segments * perSegment).toBeGreaterThanOrEqual(classes);
      expect((segments - 1) * perSegment).toBeLessThan(classes);
      expect(width * height).toBeGreaterThanOrEqual(rows * segments);
      expect(Math.max(width, height)).toBeLessThanOrEqual(4096);
    }),
  );
});

const spec = (rows: number) => ({shape: [rows, 4], dtype: 'float32'});
