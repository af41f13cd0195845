/**
 * How fast attention can run on a machine, from what it computes and what it moves: the roofline model (Williams, Waterman and Patterson
 * 2009) with main memory and, where its speed is known, on-chip memory as roofs.
 *
 * B batch, H query heads, Hkv key/value heads, Sq queries, Sk keys, D query/key width, Dv value width.
 */
import {MACHINES} from './machines';
import type {Machine, MachineName} from './machines';
import {argumentError, shown} from './options';

/** What is computed and moved; every count is for the whole call. */
export interface Work {
  /** Of the two matrix products; a multiply-add is two. */
  flops: number;
  /** To and from main memory. */
  bytes: number;
  /** To and from on-chip memory, by the scores alone. */
  onChipBytes: number;
  /** Held in main memory besides inputs and outputs. */
  extraBytes: number;
}

/** What takes longest: arithmetic, main memory, or the memory beside the arithmetic. */
export type Bound = 'compute' | 'memory' | 'on-chip memory';

/** A piece of work on a machine's roofline. */
export interface RooflinePoint extends Work {
  /** FLOPs per byte of main memory. */
  intensity: number;
  bound: Bound;
  /** The least time the machine needs. */
  seconds: number;
  /** flops / seconds. */
  flopsPerSecond: number;
}

/** FLOPs per byte from which on a machine is busy computing rather than waiting for memory. */
export function ridge({flops, bandwidth}: Pick<Machine, 'flops' | 'bandwidth'>): number {
  return flops / bandwidth;
}

/** Where `work` lies under the machine's roofs. */
export function place(work: Work, machine: Pick<Machine, 'flops' | 'bandwidth' | 'onChip'>): RooflinePoint {
  const onChipBandwidth = machine.onChip?.bandwidth ?? Infinity;
  const times: Array<[Bound, number]> = [
    ['compute', work.flops / machine.flops],
    ['memory', work.bytes / machine.bandwidth],
    ['on-chip memory', work.onChipBytes / onChipBandwidth],
  ];
  const [bound, seconds] = times.reduce((longest, each) => (each[1] > longest[1] ? each : longest));
  return {
    ...work,
    intensity: work.bytes === 0 ? 0 : work.flops / work.bytes,
    bound,
    seconds,
    flopsPerSecond: seconds === 0 ? 0 : work.flops / seconds,
  };
}

/** The sizes of one call, as far as work depends on them. */
export interface AttentionSizes {
  B: number;
  H: number;
  Hkv: number;
  Sq: number;
  Sk: number;
  D: number;
  Dv: number;
  /** Pairs of query and key in one head that causality and window let through. */
  visiblePairs: number;
  /** Bytes of bias, mask and the other tensors besides q, k and v. */
  optionBytes?: number;
  /** Ops on the whole scores between product and softmax that the unfused chain needs: bias, mask, softcap. */
  scorePasses?: number;
}

/** q, k, v and the output, each once. */
function operandBytes({B, H, Hkv, Sq, Sk, D, Dv, optionBytes = 0}: AttentionSizes, bytesPerElement: number): number {
  return bytesPerElement * B * (H * Sq * (D + Dv) + Hkv * Sk * (D + Dv)) + optionBytes;
}

/**
 * One product q·kᵀ of a head: 2N²d FLOPs over 2Nd + N² elements. With 2 bytes an element that is
 * N²d / (2Nd + N²) FLOPs per byte.
 */
export function productWork(n: number, d: number, bytesPerElement: number): Work {
  const bytes = bytesPerElement * (2 * n * d + n * n);
  return {flops: 2 * n * n * d, bytes, onChipBytes: 0, extraBytes: 0};
}

/**
 * What matMul, softmax, matMul as three ops move of the scores, visible or not: written, read, written as probabilities and read
 * again; each op between reads and writes them once more.
 */
export function scoreTraffic({B, H, Sq, Sk, scorePasses = 0}: AttentionSizes, bytesPerElement: number): number {
  return (4 + 2 * scorePasses) * bytesPerElement * B * H * Sq * Sk;
}

/** matMul, softmax, matMul: operands once, besides the scores' traffic; two matrices of scores held at once. */
export function unfusedWork(sizes: AttentionSizes, bytesPerElement: number): Work {
  const {B, H, Sq, Sk, D, Dv} = sizes;
  return {
    flops: 2 * B * H * Sq * Sk * (D + Dv),
    bytes: operandBytes(sizes, bytesPerElement) + scoreTraffic(sizes, bytesPerElement),
    onChipBytes: 0,
    extraBytes: 2 * bytesPerElement * B * H * Sq * Sk,
  };
}

/**
 * One kernel, that reads the keys and values of a key head `keyReadings` times as far as they are seen; the scores stay on chip. What
 * caches save beyond that is not counted.
 */
export function fusedWork(sizes: AttentionSizes, bytesPerElement: number, keyReadings: number): Work {
  const {B, H, Hkv, Sq, Sk, D, Dv, visiblePairs, optionBytes = 0} = sizes;
  const pairs = B * H * visiblePairs;
  const visible = Sq * Sk === 0 ? 0 : visiblePairs / (Sq * Sk);
  const lseBytes = 4 * B * H * Sq;
  const queryBytes = bytesPerElement * B * H * Sq * (D + Dv);
  const keyBytes = bytesPerElement * B * Hkv * keyReadings * Sk * (D + Dv) * visible;
  return {
    flops: 2 * pairs * (D + Dv),
    bytes: queryBytes + keyBytes + lseBytes + optionBytes,
    onChipBytes: 4 * bytesPerElement * pairs,
    extraBytes: lseBytes,
  };
}

/** Readings of a key head's keys where every query head takes `tile` queries at a time. */
export function readingsByHead({H, Hkv, Sq}: Pick<AttentionSizes, 'H' | 'Hkv' | 'Sq'>, tile: number): number {
  return (H / Hkv) * Math.ceil(Sq / tile);
}

/**
 * Queries per tile: the largest power of two for which a square tile (its queries and outputs, as many keys and values, and their scores)
 * fits the on-chip memory; 64 where the machine's is unknown. The memory is taken as one pool: parts of a chip that work on the same head read
 * its keys at about the same time, from a cache they share. The tile of one part alone gives the other extreme.
 */
export function tileFor({onChip}: Pick<Machine, 'onChip'>, D: number, Dv: number, bytesPerElement: number): number {
  if (!onChip) return 64;
  const elements = onChip.bytes / bytesPerElement;
  let tile = 1;
  while (4 * tile * (D + Dv) + 4 * tile * tile <= elements) tile *= 2;
  return tile;
}

/** The pairs that a causal mask lets through where the last query sees every key. */
function causalPairs(queries: number, keys: number): number {
  let pairs = 0;
  for (let i = 0; i < queries; i++) pairs += Math.max(0, Math.min(keys, i + 1 + keys - queries));
  return pairs;
}

/** Sizes of a call, and a machine. */
export interface RooflineOptions {
  /** Keys, and queries unless `queries` says otherwise. */
  n: number;
  /** Width of q and k, and of v unless `dv` says otherwise. */
  d: number;
  /** Default n. */
  queries?: number;
  /** Width of v; default d. */
  dv?: number;
  /** Query heads; default 1. */
  heads?: number;
  /** Key and value heads; default `heads`. */
  kvHeads?: number;
  /** Sequences; default 1. */
  batch?: number;
  /** Each query sees the keys up to its own position, the last one all; default false. */
  causal?: boolean;
  /** A preset's name or figures of your own; default 'a100'. */
  machine?: MachineName | Machine;
  /** Peak arithmetic in FLOP/s, instead of the machine's. */
  flops?: number;
  /** Main memory in bytes/s, instead of the machine's. */
  bandwidth?: number;
  /** Bytes of a number; default: the machine's. */
  bytesPerElement?: number;
  /** Queries per tile of the fused kernel; default: the most that fit the machine's on-chip memory, 64 where that is unknown. */
  tile?: number;
}

/** Attention of some sizes under a machine's roofs. */
export interface Roofline {
  /** With the figures of the options in place of its own. */
  machine: Machine;
  /** The machine's FLOPs per byte: work below it waits for memory. */
  ridge: number;
  /** Queries per tile of the fused kernel. */
  tile: number;
  /** q·kᵀ of one head alone, N × N. */
  product: RooflinePoint;
  /** The whole op as matMul, softmax, matMul. */
  unfused: RooflinePoint;
  /** The whole op as one kernel. */
  fused: RooflinePoint;
  /** Whether inputs, output and what is held besides fit main memory; absent where its size is unknown. */
  fits?: {unfused: boolean; fused: boolean};
}

const SIZES = ['n', 'd', 'queries', 'dv', 'heads', 'kvHeads', 'batch', 'tile'] as const;
const FIGURES = ['flops', 'bandwidth', 'bytesPerElement'] as const;

/**
 * What attention of these sizes costs on a machine, unfused and fused: FLOPs, bytes, FLOPs per byte, what bounds it and the least time.
 * A model, nothing is run or measured.
 *
 * Source: the roofline model (Williams, Waterman and Patterson 2009); bytes and FLOPs as in FlashAttention (Dao et al. 2022, §3.2).
 *
 * @param options n and d are needed; 2 FLOPs a multiply-add, bytes and bytes/s without a prefix.
 * @throws Error `Argument '…' passed to 'roofline' must …, but got …`: an argument that is missing, not positive or unknown.
 */
export function roofline(options: RooflineOptions): Roofline {
  checkRoofline(options);
  const {
    n,
    d,
    queries = n,
    dv = d,
    heads = 1,
    kvHeads = heads,
    batch = 1,
    causal = false,
    machine: wanted = 'a100',
  } = options;
  const preset = machineOf('roofline', wanted);
  const machine: Machine = {
    ...preset,
    flops: options.flops ?? preset.flops,
    bandwidth: options.bandwidth ?? preset.bandwidth,
    bytesPerElement: options.bytesPerElement ?? preset.bytesPerElement,
  };
  const bytes = machine.bytesPerElement;
  const tile = Math.min(options.tile ?? tileFor(machine, d, dv, bytes), queries);
  const visiblePairs = causal ? causalPairs(queries, n) : queries * n;
  const sizes = {
    B: batch,
    H: heads,
    Hkv: kvHeads,
    Sq: queries,
    Sk: n,
    D: d,
    Dv: dv,
    visiblePairs,
  };
  const unfused = place(unfusedWork(sizes, bytes), machine);
  const fused = place(fusedWork(sizes, bytes, readingsByHead(sizes, tile)), machine);
  const held = operandBytes(sizes, bytes);
  return {
    machine,
    ridge: ridge(machine),
    tile,
    product: place(productWork(n, d, bytes), machine),
    unfused,
    fused,
    ...(machine.memoryBytes !== undefined && {
      fits: {
        unfused: held + unfused.extraBytes <= machine.memoryBytes,
        fused: held + fused.extraBytes <= machine.memoryBytes,
      },
    }),
  };
}

/**
 * The preset of that name, or figures of one's own.
 * @throws Error where there is no such preset, or a figure is missing or not positive.
 */
export function machineOf(opName: string, wanted: MachineName | Machine): Machine {
  const fail = argumentError(opName);
  if (typeof wanted !== 'object' || wanted === null) {
    if (Object.hasOwn(MACHINES, wanted)) return MACHINES[wanted];
    throw fail('machine', `be one of ${Object.keys(MACHINES).join(', ')}, or figures of your own`, shown(wanted));
  }
  for (const name of FIGURES) checkFigure(opName, `machine.${name}`, wanted[name]);
  return wanted;
}

function checkFigure(opName: string, name: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0)) throw argumentError(opName)(name, 'be a positive number', shown(value));
}

function checkRoofline(options: RooflineOptions): void {
  const fail = argumentError('roofline');
  if (typeof options !== 'object' || options === null) throw fail('options', 'be an object of options', shown(options));
  const known = [...SIZES, ...FIGURES, 'machine', 'causal'];
  const unknown = Object.keys(options).find(name => !known.includes(name));
  if (unknown !== undefined) throw fail(unknown, `be one of ${known.join(', ')}`, 'an unknown name');
  for (const name of ['n', 'd'] as const) {
    if (options[name] === undefined) throw fail(name, 'be given', 'nothing');
  }
  for (const name of SIZES) {
    const value = options[name];
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) {
      throw fail(name, 'be a positive integer', shown(value));
    }
  }
  for (const name of FIGURES) {
    const value = options[name];
    if (value !== undefined) checkFigure('roofline', name, value);
  }
  const {causal, heads = 1, kvHeads = heads} = options;
  if (causal !== undefined && typeof causal !== 'boolean') throw fail('causal', 'be a boolean', shown(causal));
  if (heads % kvHeads !== 0) throw fail('kvHeads', `divide heads (${heads})`, shown(kvHeads));
}
