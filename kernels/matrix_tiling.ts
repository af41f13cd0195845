/**
 * Tiles of the WebGPU kernel whose products run on subgroup matrices: how many subgroups share the keys in workgroup memory, and
 * how many query rows each of them keeps in matrices. Bytes of each on-chip array stand on their own line.
 */
import type {Constants} from './header';
import {bytesOf} from './tiling';
import type {OnChip} from './tiling';

/** A matrix product that a device offers: M×K times K×N. */
export interface MatrixShape {
  M: number;
  N: number;
  K: number;
}

/** What of a device decides these tiles. */
export interface MatrixLimits {
  /** Products of float16 with float32 sums. */
  shapes: readonly MatrixShape[];
  /** Invocations of a subgroup; 0 where they differ from kernel to kernel. */
  subgroup: number;
  /** Bytes of workgroup memory. */
  storage: number;
  /** Bindings of buffers that a kernel may have, uniforms aside. */
  storageBuffers: number;
  /** Of a workgroup. */
  invocations: number;
}

/** What measurements decide. */
export interface MatrixChoice {
  subgroups: number;
  /** Query rows of a subgroup. */
  rows: number;
  /** Keys in workgroup memory at a time. */
  keys: number;
  /** The next tile is read before this one's scores are computed, not after. */
  prefetch: boolean;
}

export interface MatrixTiles extends MatrixChoice, MatrixShape {
  /** Each number as a pair of float16. */
  pairs: boolean;
  subgroup: number;
}

/** The fastest on a large GPU, by the widest row they serve. */
type Measured = readonly [width: number, choice: MatrixChoice];
const HALVES: readonly Measured[] = [
  [64, {subgroups: 4, rows: 32, keys: 16, prefetch: true}],
  [128, {subgroups: 8, rows: 16, keys: 32, prefetch: true}],
  [Infinity, {subgroups: 4, rows: 16, keys: 16, prefetch: true}],
];
const PAIRS: readonly Measured[] = [
  [64, {subgroups: 4, rows: 16, keys: 16, prefetch: true}],
  [128, {subgroups: 8, rows: 16, keys: 16, prefetch: true}],
  [Infinity, {subgroups: 4, rows: 16, keys: 16, prefetch: true}],
];

/** 32-bit registers that an invocation may spend on matrices of queries and output; a GPU has about 255 for everything. */
const MATRIX_REGISTERS = 192;

/**
 * Tiles for rows of D and Dv numbers.
 * @param wanted what a benchmark tries instead of the measured choice.
 * @returns the reason in one clause where there are none.
 */
export function matrixTiles(
  D: number,
  Dv: number,
  pairs: boolean,
  limits: MatrixLimits,
  wanted: MatrixChoice = (pairs ? PAIRS : HALVES).find(([width]) => Math.max(D, Dv) <= width)![1],
): MatrixTiles | string {
  const {shapes, subgroup, storage, invocations} = limits;
  const shape = shapes.find(
    ({M, N, K}) => isPowerOfTwo(M) && isPowerOfTwo(N) && isPowerOfTwo(K) && Math.min(M, N, K) >= 4,
  );
  if (!shape) return 'the device offers no subgroup matrices of float16 with float32 sums';
  if (subgroup === 0) return 'the size of the device’s subgroups varies';
  const {M, N, K} = shape;
  for (let rows = Math.max(M, wanted.rows); rows >= M; rows /= 2) {
    const {lanes} = lanesOf(rows, subgroup);
    const fewestKeys = Math.max(N, K, 4 * lanes);
    for (let keys = Math.max(fewestKeys, wanted.keys); keys >= fewestKeys; keys /= 2) {
      for (let subgroups = wanted.subgroups; subgroups >= 1; subgroups /= 2) {
        const tiles: MatrixTiles = {M, N, K, pairs, subgroup, subgroups, rows, keys, prefetch: wanted.prefetch};
        const fits = matrixBytes(tiles, D, Dv) <= storage && subgroups * subgroup <= invocations;
        if (fits && matrixRegisters(tiles, D, Dv) <= MATRIX_REGISTERS) return tiles;
      }
    }
  }
  return `subgroup matrices of rows of ${Math.max(D, Dv)} numbers exceed the registers or the ${storage} bytes of workgroup memory`;
}

const isPowerOfTwo = (x: number): boolean => Number.isInteger(Math.log2(x));

/** Invocations that share a row where its scores are turned into weights, and rows of each such group. */
const lanesOf = (rows: number, subgroup: number) => ({
  lanes: Math.max(1, subgroup / rows),
  rowsOfLanes: Math.max(1, rows / subgroup),
});

/** Rows of all subgroups of a workgroup. */
export const matrixTileRows = ({subgroups, rows}: MatrixTiles): number => subgroups * rows;

/** Rows of D and Dv numbers in vec4s, filled up to whole matrices, and from one row to the next in workgroup memory. */
function vectors({N, K, rows, keys, subgroup}: MatrixTiles, D: number, Dv: number) {
  const keyVectors = (Math.ceil(D / K) * K) / 4;
  const valueVectors = (Math.ceil(Dv / N) * N) / 4;
  return {
    keyVectors,
    valueVectors,
    // Rows of halves start at odd multiples of 16 bytes and rows of scores at distances that spread them over the memory's banks.
    keyPitch: oddPairs(keyVectors),
    valuePitch: oddPairs(valueVectors),
    weightPitch: oddPairs(keys / 4),
    scorePitch: keys / 4 + lanesOf(rows, subgroup).lanes,
  };
}

const oddPairs = (count: number): number => (count % 4 === 0 ? count + 2 : count);

/** What `tiles` take of workgroup memory; key and value tiles and weights lie in one array there, `halves`. */
export function matrixArrays(tiles: MatrixTiles, D: number, Dv: number): OnChip {
  const {keyPitch, valuePitch, weightPitch, scorePitch} = vectors(tiles, D, Dv);
  const {keys, pairs} = tiles;
  const rows = matrixTileRows(tiles);
  const ofVector = pairs ? 16 : 8;
  return {
    keyTile: keys * keyPitch * ofVector,
    valueTile: keys * valuePitch * ofVector,
    weights: rows * weightPitch * ofVector,
    scores: rows * scorePitch * 16,
    rowFactors: rows * 4,
    events: 4,
  };
}

/** Bytes of workgroup memory. */
export const matrixBytes = (tiles: MatrixTiles, D: number, Dv: number): number => bytesOf(matrixArrays(tiles, D, Dv));

/** 32-bit registers of an invocation that hold queries and output. */
function matrixRegisters(tiles: MatrixTiles, D: number, Dv: number): number {
  const {keyVectors, valueVectors} = vectors(tiles, D, Dv);
  const query = (tiles.rows * 4 * keyVectors * (tiles.pairs ? 4 : 2)) / 4 / tiles.subgroup;
  const output = (tiles.rows * 4 * valueVectors) / tiles.subgroup;
  return query + output;
}

/** For converting keys once to gain more than it takes, as measured: how many tiles of queries read a tile of keys, and a call's flops. */
const PAYING_TILES = 16;
const PAYING_FLOPS = 2 ** 35;
const PAYING_FLOPS_OF_PAIRS = 2 ** 34;
/** Pairs of wider rows gain nothing. */
const PAYING_WIDTH_OF_PAIRS = 64;

/**
 * Whether keys and values become float16 once instead of once per tile of queries.
 * @param width of the widest row.
 * @param rows queries that see a key, heads of a group included.
 */
export function conversionPays(tiles: MatrixTiles, width: number, rows: number, flops: number): boolean {
  if (tiles.pairs && width > PAYING_WIDTH_OF_PAIRS) return false;
  return rows >= PAYING_TILES * matrixTileRows(tiles) && flops >= (tiles.pairs ? PAYING_FLOPS_OF_PAIRS : PAYING_FLOPS);
}

/** vec4s of 32-bit words that hold a converted tile of keys and values, and `count` of them with a mark for each behind them. */
export function convertedSize(tiles: MatrixTiles, D: number, Dv: number, count: number) {
  const {keyVectors, valueVectors} = vectors(tiles, D, Dv);
  const tile = ((tiles.pairs ? 2 : 1) * tiles.keys * (keyVectors + valueVectors)) / 2;
  return {tile, all: tile * (count + Math.ceil(count / tile))};
}

/** What the kernel is compiled with; `converted`: it copies tiles that are float16 already, eight halves an element. */
export function matrixConstants(tiles: MatrixTiles, D: number, Dv: number, converted = false): Constants {
  const {M, N, K, rows, keys, subgroup, subgroups} = tiles;
  const {lanes, rowsOfLanes} = lanesOf(rows, subgroup);
  const {keyVectors, valueVectors, keyPitch, valuePitch, weightPitch, scorePitch} = vectors(tiles, D, Dv);
  const threads = subgroups * subgroup;
  const unit = converted ? 8 : 4;
  const loads = (numbers: number): number => Math.ceil((numbers * (converted && tiles.pairs ? 2 : 1)) / unit / threads);
  const pitch = (inVectors: number): number => (4 * inVectors) / unit;
  return {
    SUBGROUPS: subgroups, CONVERTED: converted, TILE_SIZE: convertedSize(tiles, D, Dv, 0).tile,
    KEY_ROW_STEP: N * pitch(keyPitch), KEY_COLUMN_STEP: K / unit,
    VALUE_ROW_STEP: K * pitch(valuePitch), VALUE_COLUMN_STEP: N / unit,
    MATRIX_M: M, MATRIX_N: N, MATRIX_K: K, PARTS: tiles.pairs ? 2 : 1, PREFETCH: tiles.prefetch,
    THREADS: threads, LANES: lanes, ROWS: rowsOfLanes, BLOCK: lanes, KEYS: keys, SUBGROUP_ROWS: rows,
    ROW_TILES: rows / M, KEY_TILES: keys / N, QK_TILES: (4 * keyVectors) / K,
    VALUE_TILES: (4 * valueVectors) / N, WEIGHT_TILES: keys / K, OWN_VECTORS: keys / 4 / lanes,
    KEY_VECTORS: keyVectors, VALUE_VECTORS: valueVectors,
    KEY_LOADS: loads(4 * keys * keyVectors), VALUE_LOADS: loads(4 * keys * valueVectors),
    KEY_PITCH: pitch(keyPitch), VALUE_PITCH: pitch(valuePitch), WEIGHT_PITCH: weightPitch, SCORE_PITCH: scorePitch,
  }; // prettier-ignore
}
