/**
 * Problem and device limits in, tile sizes out: how many invocations share a query row, how many rows each group of them holds
 * in registers, and how many keys lie in workgroup memory at a time. Bytes of each on-chip array stand on their own line.
 */

/** What a device lets one workgroup have. */
export interface WorkgroupLimits {
  /** Bytes of workgroup memory. */
  storage: number;
  invocations: number;
  /** The device is a processor that runs shaders. */
  software: boolean;
  /** The smallest subgroup that a kernel may meet; 0 where the device has no subgroups. */
  subgroup: number;
}

/** The shape of a kernel whose groups of lanes share rows. */
export interface LaneTiles {
  /** Invocations that share a row; each holds every lanes-th vec4 of it. */
  lanes: number;
  /** Rows that a group of lanes holds in registers. */
  rows: number;
  threads: number;
  /** Streamed rows in workgroup memory at a time. */
  keys: number;
  /** Streamed rows handled between two rescalings. */
  block: number;
  /** How lanes exchange values. */
  exchange: 'single' | 'subgroup' | 'workgroup';
  /** Streamed rows lie in workgroup memory as float16; default false. */
  half?: boolean;
}

export interface DecodeTiles extends LaneTiles {
  /** Sets of rows that share a workgroup, and the keys that it reads. */
  rowGroups: number;
}

/** vec4s of a row of `width` floats that one of `lanes` invocations holds. */
const slice = (width: number, lanes: number): number => Math.ceil(Math.ceil(width / 4) / lanes);

/** The kernels that lane tiles are for. */
export type Pass = 'forward' | 'backwardQ' | 'backwardKV';

/** Bytes of on-chip arrays, by the names that the kernel gives them. */
export type OnChip = Record<string, number>;

export const bytesOf = (arrays: OnChip): number => Object.values(arrays).reduce((sum, bytes) => sum + bytes, 0);

/** What `tiles` take of workgroup memory for rows of D and Dv floats. */
export function laneArrays(tiles: LaneTiles, D: number, Dv: number, pass: Pass = 'forward'): OnChip {
  const {lanes, rows, threads, keys, block, exchange, half} = tiles;
  const ofVector = half ? 8 : 16;
  const ownRows = threads * Math.max(1, rows / lanes) * 4;
  return {
    keyTile: keys * slice(D, lanes) * lanes * ofVector,
    valueTile: keys * slice(Dv, lanes) * lanes * ofVector,
    ...(pass === 'backwardKV' && {savedTile: keys * 16}),
    ...(exchange === 'workgroup' && {
      exchangedScores: threads * rows * block * 4,
      exchangedOwn: ownRows * Math.max(1, (block * Math.min(rows, lanes)) / lanes),
      exchangedRows: ownRows,
    }),
  };
}

/** The same of the kernel for few rows, where the groups' streams of keys are merged at the end. */
export function decodeArrays({lanes, rows, threads}: DecodeTiles, Dv: number): OnChip {
  const groups = threads / lanes;
  return {
    streamMax: groups * rows * 4,
    streamSum: groups * rows * 4,
    streamOutput: groups * slice(Dv, lanes) * lanes * 16,
  };
}

/** Lanes, rows, threads, keys and block that were fastest on a large GPU, by the widest row they serve. */
type Measured = readonly [width: number, lanes: number, rows: number, threads: number, keys: number, block: number];
const MEASURED: Readonly<Record<Pass, readonly Measured[]>> = {
  forward: [
    [32, 2, 4, 128, 32, 8],
    [64, 4, 4, 128, 32, 8],
    [96, 4, 4, 128, 32, 8],
    [128, 8, 4, 256, 32, 8],
    [Infinity, 16, 4, 256, 16, 8],
  ],
  backwardQ: [
    [64, 8, 8, 128, 32, 4],
    [Infinity, 16, 4, 128, 16, 8],
  ],
  backwardKV: [
    [64, 8, 4, 128, 32, 8],
    [Infinity, 16, 4, 128, 16, 8],
  ],
};

/**
 * Tiles for a kernel that keeps rows in registers and streams others through workgroup memory.
 * @param half the streamed ones as float16.
 * @returns null where not even one key fits the workgroup's memory.
 */
export function laneTiles(D: number, Dv: number, pass: Pass, limits: WorkgroupLimits, half = false): LaneTiles | null {
  const width = Math.max(D, Dv);
  const hasSubgroups = limits.subgroup > 0;
  const [, wantedLanes, wantedRows, wantedThreads, wantedKeys, wantedBlock] = MEASURED[pass].find(
    ([widest]) => width <= widest,
  )!;
  const lanes = hasSubgroups
    ? Math.min(wantedLanes, floorPowerOfTwo(limits.subgroup))
    : Math.min(16, powerOfTwo(width / 64));
  const exchange = lanes === 1 ? 'single' : hasSubgroups ? 'subgroup' : 'workgroup';
  // Fewer lanes than wanted hold more of each row: fewer rows, then, fit the registers.
  const rows = hasSubgroups ? Math.max(1, floorPowerOfTwo((wantedRows * lanes) / wantedLanes)) : 1;
  // Compiling for a processor takes long: what the kernels expand to is kept short there.
  const block = limits.software ? 2 : wantedBlock;
  for (let keys = wantedKeys; keys >= 1; keys /= 2) {
    for (let threads = wantedThreads; threads >= 32; threads /= 2) {
      const tiles: LaneTiles = {lanes, rows, threads, keys, block: Math.min(keys, block), exchange, half};
      if (threads <= limits.invocations && bytesOf(laneArrays(tiles, D, Dv, pass)) <= limits.storage) return tiles;
    }
  }
  return null;
}

/**
 * Tiles of the kernel for few rows: every group of lanes holds the same rows and walks over keys of its own in memory.
 * @param rowCount queries times heads of a group.
 */
export function decodeTiles(D: number, Dv: number, rowCount: number, limits: WorkgroupLimits): DecodeTiles | null {
  const width = Math.max(D, Dv);
  const lanes = Math.min(powerOfTwo(width / 16), 32, floorPowerOfTwo(limits.subgroup));
  const perRow = 2 * slice(width, lanes) * 4;
  const mostRows = limits.software ? 2 : 4;
  const rows = Math.max(1, Math.min(mostRows, powerOfTwo(rowCount), floorPowerOfTwo(136 / perRow)));
  for (const threads of [128, 64, 32]) {
    const groups = threads / lanes;
    const rowGroups = Math.min(groups, powerOfTwo(rowCount / rows));
    const tiles: DecodeTiles = {
      lanes,
      rows,
      threads,
      keys: 1,
      block: limits.software ? 2 : rowGroups > 1 ? 8 : 4,
      exchange: lanes === 1 ? 'single' : 'subgroup',
      rowGroups,
    };
    if (threads <= limits.invocations && groups >= 1 && bytesOf(decodeArrays(tiles, Dv)) <= limits.storage)
      return tiles;
  }
  return null;
}

const powerOfTwo = (x: number): number => 2 ** Math.max(0, Math.ceil(Math.log2(x)));
const floorPowerOfTwo = (x: number): number => 2 ** Math.max(0, Math.floor(Math.log2(x)));
