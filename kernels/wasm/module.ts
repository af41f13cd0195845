/** The compiled kernels, inlined in the package: decoded and compiled on first use, in the best variant the engine has. */
import {COMMON, ESCAPES, LETTERS, MEMORY_FLAGS_AT, RELAXED_SIMD, SIMD} from './generated/binaries';

/** 'relaxed-simd' has fused multiply-adds; results differ from 'simd' by rounding. */
export type Variant = 'simd' | 'relaxed-simd';

/** The functions that run one item of a call. */
export type KernelName = 'forward' | 'decode' | 'merge' | 'delta' | 'gradQueries' | 'gradKeys' | 'gradBias';

type Kernel = (problem: number, scratch: number, item: number) => void;
export type Kernels = Record<KernelName, Kernel>;

/** Best first. */
export const VARIANTS: readonly Variant[] = ['relaxed-simd', 'simd'];

const BINARIES: Record<Variant, string> = {simd: SIMD, 'relaxed-simd': RELAXED_SIMD};

function bytesOf(variant: Variant, shared: boolean): Uint8Array<ArrayBuffer> {
  const bytes = decoded(BINARIES[variant]);
  // 1 (has a maximum) + 2 (is shared). An engine without threads refuses the shared form, and a module must match its memory.
  bytes[MEMORY_FLAGS_AT] = shared ? 3 : 1;
  return bytes;
}

/** Reads what build.mjs wrote: a letter for a byte that COMMON has a bit for, an escape and a letter for one of the others. */
function decoded(text: string): Uint8Array<ArrayBuffer> {
  const isCommon = (byte: number): number => (Number.parseInt(COMMON[byte >> 2], 16) >> (byte & 3)) & 1;
  const byteOf = Array.from({length: 256}, (_, byte) => byte).sort((a, b) => isCommon(b) - isCommon(a) || a - b);
  const bytes: number[] = [];
  let page = 0;
  for (const letter of text) {
    const place = LETTERS.indexOf(letter);
    if (place >= 0) bytes.push(byteOf[page * LETTERS.length + place]);
    page = place < 0 ? ESCAPES.indexOf(letter) + 1 : 0;
  }
  return Uint8Array.from(bytes);
}

const validated: Partial<Record<Variant, boolean>> = {};

/** Whether this engine runs a variant; the binary itself is the feature test. */
export function runsVariant(variant: Variant): boolean {
  return (validated[variant] ??= typeof WebAssembly === 'object' && WebAssembly.validate(bytesOf(variant, false)));
}

const modules: Record<string, WebAssembly.Module> = {};

/** The module for a memory that is shared between threads or not. */
export function kernelModule(variant: Variant, shared: boolean): WebAssembly.Module {
  return (modules[`${variant} ${shared}`] ??= new WebAssembly.Module(bytesOf(variant, shared)));
}

export function instantiate(variant: Variant, memory: WebAssembly.Memory): Kernels {
  const shared = isShared(memory);
  return new WebAssembly.Instance(kernelModule(variant, shared), {env: {memory}}).exports as unknown as Kernels;
}

export function isShared(memory: WebAssembly.Memory): boolean {
  // Not instanceof: the buffer may come from another realm (jest's, an iframe's).
  return Object.prototype.toString.call(memory.buffer) === '[object SharedArrayBuffer]';
}
