/** A memory of our own, handed out from the bottom and taken back whole after each call. */

const PAGE = 65536;
/** Address 0 says "absent", and arrays start on cache lines. */
const FIRST = 64;
export const MAX_PAGES = 65536;

export class Arena {
  private top = FIRST;

  constructor(readonly memory: WebAssembly.Memory) {}

  /** Address of `bytes` fresh bytes; their content is arbitrary. Views on the memory made earlier may become stale. */
  allocate(bytes: number): number {
    const at = this.top;
    this.top += Math.ceil(bytes / FIRST) * FIRST;
    const missing = this.top - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    return at;
  }

  copyIn(values: ArrayBufferView): number {
    const at = this.allocate(values.byteLength);
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    new Uint8Array(this.memory.buffer, at, values.byteLength).set(bytes);
    return at;
  }

  copyOut(at: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, length).slice();
  }

  reset(): void {
    this.top = FIRST;
  }
}
