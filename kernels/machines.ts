/** Machines whose roofs are known, each with its source. */

/** Peak and bandwidth of a machine, for `roofline` and `explain`. */
export interface Machine {
  /** For people. */
  name: string;
  /** Peak arithmetic, FLOP/s. */
  flops: number;
  /** Main memory, bytes/s. */
  bandwidth: number;
  /** Bytes of one element in the format that `flops` is for. */
  bytesPerElement: number;
  /** Main memory, bytes. */
  memoryBytes?: number;
  /** The fast memory beside the arithmetic, as one pool: bytes, and bytes/s where known. */
  onChip?: {bytes: number; bandwidth?: number};
  /** Where the figures come from. */
  source: string;
}

const KIB = 1024;

/** The presets of `roofline`, by name. */
export const MACHINES = {
  a100: {
    name: 'NVIDIA A100 40 GB, float16 tensor cores',
    flops: 312e12,
    bandwidth: 1555e9,
    bytesPerElement: 2,
    memoryBytes: 40e9,
    onChip: {bytes: 20e6, bandwidth: 19e12},
    source: 'NVIDIA A100 data sheet; on-chip memory: Dao et al., FlashAttention (2022), figure 1',
  },
  h100: {
    name: 'NVIDIA H100 SXM, float16 tensor cores, dense',
    flops: 989.4e12,
    bandwidth: 3350e9,
    bytesPerElement: 2,
    memoryBytes: 80e9,
    onChip: {bytes: 132 * 228 * KIB},
    source: 'NVIDIA H100 data sheet and architecture paper (132 processors with 228 KiB of shared memory)',
  },
  laptop: {
    name: 'Apple M2, 10 GPU cores, float32',
    flops: 3.6e12,
    bandwidth: 100e9,
    bytesPerElement: 4,
    onChip: {bytes: 10 * 32 * KIB},
    source:
      'Apple, M2 announcement (June 2022): 3.6 TFLOP/s, 100 GB/s; Metal feature set: 32 KiB of threadgroup memory',
  },
  cpu: {
    name: 'two Zen 4 class CPU cores, 128-bit SIMD, float32',
    flops: 94e9,
    bandwidth: 12.8e9,
    bytesPerElement: 4,
    onChip: {bytes: 2 * KIB * KIB},
    source:
      'multiply-add loop in WebAssembly, 47 GFLOP/s a core; DRAM: Dao et al. (2022), figure 1; 1 MiB of L2 cache a core',
  },
} as const satisfies Record<string, Machine>;

/** Name of a preset. */
export type MachineName = keyof typeof MACHINES;
