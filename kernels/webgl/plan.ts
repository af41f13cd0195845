/**
 * How a WebGL call is cut, so that every texture fits the device and no draw runs long. Cuts depend on sizes and limits alone.
 *
 * One side of the scores (queries in the forward pass) is held in tiles of 4 rows; the other side is walked over in blocks.
 * part: heads and tiles whose staged rows and sums fit one texture each. chunk: the heads and tiles of a part that one draw
 * covers; its block of scores is the largest texture. span: consecutive blocks of the other side that are staged together.
 */
import type {AttentionProblem} from '../problem';

export interface WebGLLimits {
  /** Largest width and height of a texture. */
  textureSize: number;
  /** Render targets of a pass: columns of a tile, and channels that a fragment sums. 4 or 8. */
  lanes: 4 | 8;
}

/** The two sides of the scores as the passes see them. */
export interface Sides {
  /** Heads that have tiles, over all batches. */
  heads: number;
  /** Rows in tiles, per head. */
  rows: number;
  /** Rows of the other side, per head. */
  otherRows: number;
  /** The most texels that a row of a staged tensor takes. */
  texels: number;
  /** Rows of texels that a head's sums take: one per group of `lanes` channels, in the forward pass one of statistics. */
  sumRows: number;
}

export interface Part {
  firstHead: number;
  heads: number;
  firstRow: number;
  rows: number;
  tiles: number;
}

/** Within a part. */
export interface Chunk {
  firstTile: number;
  tiles: number;
  firstHead: number;
  heads: number;
}

export interface Blocks {
  /** Groups of `lanes` rows in a block. */
  groups: number;
  /** Rows of the other side in a block: groups · lanes, at most 512. */
  rows: number;
  count: number;
  /** Blocks that are staged together. */
  perSpan: number;
}

export const TILE_ROWS = 4;
const BLOCK_ROWS = 512;
/** Fragments that draw one block: at most 64 MiB of scores with 8 render targets. */
const CHUNK_FRAGMENTS = 2 ** 19;
/** With a bounded window, tiles of one chunk walk over the blocks of all of them. */
const WINDOW_CHUNK_TILES = 512;

/** Why the device cannot serve these sides at all; null where it can. */
export function widthReason({texels, sumRows}: Sides, {textureSize}: WebGLLimits): string | null {
  return Math.max(texels, sumRows) > textureSize ? `a row takes more than ${textureSize} texels` : null;
}

export function planBlocks({otherRows}: Sides, {textureSize, lanes}: WebGLLimits): Blocks {
  const longest = Math.max(lanes, Math.min(BLOCK_ROWS, Math.floor(textureSize / lanes) * lanes));
  const count = Math.max(1, Math.ceil(otherRows / longest));
  const groups = Math.max(1, Math.ceil(otherRows / count / lanes));
  const rows = groups * lanes;
  return {
    groups,
    rows,
    count: Math.max(1, Math.ceil(otherRows / rows)),
    perSpan: Math.max(1, Math.floor(textureSize / rows)),
  };
}

export function planParts(sides: Sides, {textureSize}: WebGLLimits): Part[] {
  const headsAtOnce = Math.floor(textureSize / Math.max(sides.texels, sides.sumRows));
  const rowsAtOnce = TILE_ROWS * Math.floor(textureSize / TILE_ROWS);
  const parts: Part[] = [];
  for (const [firstHead, heads] of evenRanges(sides.heads, headsAtOnce)) {
    for (const [firstTile, tiles] of evenRanges(Math.ceil(sides.rows / TILE_ROWS), rowsAtOnce / TILE_ROWS)) {
      const firstRow = firstTile * TILE_ROWS;
      parts.push({firstHead, heads, firstRow, rows: Math.min(tiles * TILE_ROWS, sides.rows - firstRow), tiles});
    }
  }
  return parts;
}

/** Texels of a staged row of this width: whole groups of `lanes` channels, or of eight halves. */
export function stagedTexels(width: number, lanes: WebGLLimits['lanes'], half: boolean): number {
  return half ? Math.ceil(width / 8) : Math.ceil(width / lanes) * (lanes / 4);
}

/** [first, count] of the key heads that a part of query heads meets; `group` of these share one. */
export function keyHeads({firstHead, heads}: Part, group: number): [number, number] {
  const first = Math.floor(firstHead / group);
  return [first, Math.floor((firstHead + heads - 1) / group) - first + 1];
}

export function planChunks(
  part: Part,
  {groups}: Blocks,
  {textureSize}: WebGLLimits,
  isWindowed: boolean,
  mostFragments = CHUNK_FRAGMENTS,
): Chunk[] {
  const columns = Math.max(1, Math.floor(Math.min(mostFragments, CHUNK_FRAGMENTS) / groups)); // a tile of one head each
  const tilesAtOnce = Math.min(part.tiles, isWindowed ? WINDOW_CHUNK_TILES : Infinity, columns);
  const headsAtOnce = Math.max(1, Math.min(Math.floor(textureSize / groups), Math.floor(columns / tilesAtOnce)));
  const chunks: Chunk[] = [];
  for (const [firstHead, heads] of evenRanges(part.heads, headsAtOnce)) {
    for (const [firstTile, tiles] of evenRanges(part.tiles, tilesAtOnce))
      chunks.push({firstTile, tiles, firstHead, heads});
  }
  return chunks;
}

/** The blocks that some row of the chunk can see by causality and window, as [from, to). */
export function blocksSeen(
  problem: AttentionProblem,
  tilesOfKeys: boolean,
  firstRow: number,
  rows: number,
  blocks: Blocks,
): [number, number] {
  if (problem.hasQueryOffset) return [0, blocks.count];
  const last = firstRow + rows - 1;
  const {below, above, shift} = boundsOf(problem, tilesOfKeys);
  const size = tilesOfKeys ? problem.Sq : problem.Sk;
  const from = below < 0 ? 0 : Math.max(0, firstRow + shift - below);
  const to = above < 0 ? size : Math.min(size, last + shift + above + 1);
  if (from >= to) return [0, 0];
  return [Math.floor(from / blocks.rows), Math.ceil(to / blocks.rows)];
}

/** A block with the tiles of the part, as [from, to), that are drawn, and those among them that hold sums of earlier blocks. */
export interface BlockStep {
  block: number;
  drawn: readonly [number, number];
  started: readonly [number, number];
}

/**
 * The blocks of a chunk in the order in which they are walked over, `times` times. Tiles join when a block comes that they see,
 * so that causal calls draw half of them, and stay from then on; the last step draws all, which gives every sum a value.
 */
export function blockSteps(
  problem: AttentionProblem,
  tilesOfKeys: boolean,
  {firstRow, rows}: Part,
  {firstTile, tiles}: Chunk,
  blocks: Blocks,
  times: number,
): BlockStep[] {
  const first = firstRow + firstTile * TILE_ROWS;
  const chunkRows = Math.min(tiles * TILE_ROWS, rows - firstTile * TILE_ROWS);
  const [from, to] = blocksSeen(problem, tilesOfKeys, first, chunkRows, blocks);
  const {below, above, shift} = boundsOf(problem, tilesOfKeys);
  const all = [firstTile, firstTile + tiles] as const;
  const tileOf = (row: number): number => Math.min(Math.max((row - firstRow) / TILE_ROWS, all[0]), all[1]);
  const tilesThatSee = (block: number): readonly [number, number] => [
    above < 0 ? all[0] : Math.floor(tileOf(block * blocks.rows - shift - above)),
    below < 0 ? all[1] : Math.ceil(tileOf((block + 1) * blocks.rows - shift + below)),
  ];
  const count = Math.max(1, to - from);
  let started: readonly [number, number] = [all[1], all[0]];
  return Array.from({length: count * times}, (_, index) => {
    // Where rows see nothing beyond a place, the last block is seen by the fewest tiles.
    const block = above < 0 ? from + (index % count) : from + count - 1 - (index % count);
    const seeing = problem.hasQueryOffset || index === count * times - 1 ? all : tilesThatSee(block);
    const drawn = [Math.min(started[0], seeing[0]), Math.max(started[1], seeing[1])] as const;
    const step = {block, drawn, started};
    started = drawn;
    return step;
  });
}

/** Row r of the tile side sees from r + shift − below to r + shift + above of the other; −1: no bound. */
function boundsOf({windowLeft, windowRight, queryOffset}: AttentionProblem, tilesOfKeys: boolean) {
  return tilesOfKeys
    ? {below: windowRight, above: windowLeft, shift: -queryOffset}
    : {below: windowLeft, above: windowRight, shift: queryOffset};
}

/** [first, count] of the fewest even ranges of at most `most` that cover 0…total. */
export function evenRanges(total: number, most: number): Array<[number, number]> {
  const count = Math.ceil(total / most);
  const size = Math.ceil(total / count);
  const ranges: Array<[number, number]> = [];
  for (let first = 0; first < total; first += size) ranges.push([first, Math.min(size, total - first)]);
  return ranges;
}

export interface SoftmaxPlan {
  segments: number;
  perSegment: number;
  /** The texture of the segments' statistics. */
  width: number;
  height: number;
}

/** Rows of logits are cut into segments until there are fragments enough for the device, or segments get short. */
export function planSoftmax(rows: number, classes: number, {textureSize}: WebGLLimits): SoftmaxPlan {
  const wanted = Math.min(MOST_SEGMENTS, Math.ceil(ENOUGH_FRAGMENTS / rows), Math.ceil(classes / SHORT_SEGMENT));
  const perSegment = Math.ceil(classes / wanted);
  const segments = Math.ceil(classes / perSegment);
  const width = Math.min(textureSize, Math.max(segments, Math.ceil(Math.sqrt(rows * segments))));
  return {segments, perSegment, width, height: Math.ceil((rows * segments) / width)};
}

const MOST_SEGMENTS = 16;
const ENOUGH_FRAGMENTS = 16384;
const SHORT_SEGMENT = 256;
