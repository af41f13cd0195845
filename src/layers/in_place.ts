/**
 * Writing tokens into a page where it lies, on the backends whose tensors are memory of this process (cpu, wasm): an append
 * then costs its own tokens alone. The caller sees to it that nobody else uses the page.
 */
import {backend, getBackend} from '@tensorflow/tfjs-core';
import type {DataId, Tensor} from '@tensorflow/tfjs-core';
import type {PageWrite} from './cache_pages';

/** What is used of tfjs's own backends, whose packages this one does not need. */
interface CpuMemory {
  data: {get(dataId: DataId): {values?: unknown}};
}
interface WasmMemory {
  dataIdMap: {get(dataId: DataId): {memoryOffset: number | null}};
  wasm: {HEAPU8: Uint8Array};
}

export function canWriteInPlace(): boolean {
  return getBackend() === 'cpu' || getBackend() === 'wasm';
}

/** Puts the write's tokens on the page; false where the page's memory cannot be reached, and nothing is done then. */
export function writeInPlace(page: Tensor, tokens: Tensor, {from, size, starts, counts, layout}: PageWrite): boolean {
  const source = memoryOf(tokens);
  const target = memoryOf(page);
  if (!source || !target) return false;
  const [B, second, third, width] = tokens.shape as number[];
  const [heads, n] = layout === 'BHSD' ? [second, third] : [third, second];
  for (let b = 0; b < B; b++) {
    const first = Math.max(0, from - starts[b]);
    const end = Math.min(counts[b], from + size - starts[b]);
    if (first >= end) continue;
    const place = starts[b] + first - from;
    // Tokens of one head lie side by side in BHSD; in BSHD all heads of a token do.
    const [groups, run] = layout === 'BHSD' ? [heads, width] : [1, heads * width];
    for (let g = 0; g < groups; g++) {
      const group = b * groups + g;
      const read = (group * n + first) * run;
      target.set(source.subarray(read, read + (end - first) * run), (group * size + place) * run);
    }
  }
  return true;
}

function memoryOf({dataId, size}: Tensor): Float32Array | null {
  if (getBackend() === 'cpu') {
    const {values} = (backend() as unknown as CpuMemory).data.get(dataId);
    return values instanceof Float32Array ? values : null;
  }
  const {dataIdMap, wasm} = backend() as unknown as WasmMemory;
  const {memoryOffset} = dataIdMap.get(dataId);
  return memoryOffset === null ? null : new Float32Array(wasm.HEAPU8.buffer, memoryOffset, size);
}
