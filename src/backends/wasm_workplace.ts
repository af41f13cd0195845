/**
 * Where the WebAssembly kernels find a call's tensors and leave its results: on backend `wasm` in tfjs's own memory, without
 * a copy; elsewhere, and for several threads, in a memory of ours, copied in and out.
 */
import type {DataId, KernelBackend, TensorInfo, TypedArray} from '@tensorflow/tfjs-core';
import type {Place} from '../../kernels/wasm/attention';
import {Arena} from '../../kernels/wasm/memory';
import {instantiate} from '../../kernels/wasm/module';
import type {Kernels, Variant} from '../../kernels/wasm/module';
import {sharedPool} from '../../kernels/wasm/pool';

/** One call's view of memory. Every address stays good until `release`. */
export interface Workplace {
  place: Place;
  addressOf(info: TensorInfo): number;
  /** A float32 tensor's values where they stand, if that is outside of the memory and there is one thread. */
  valuesOf?(info: TensorInfo): Float32Array;
  /** Room for a float32 result; `tensor` makes it one once the kernels have run. */
  result(shape: number[]): {address: number; tensor(): TensorInfo};
  release(): void;
}

/** How a backend's values are read and made, for the copying workplace. */
export interface HostArrays {
  read(info: TensorInfo): TypedArray;
  make(shape: number[], values: Float32Array): TensorInfo;
}

/** The part of tfjs's BackendWasm that is used here, so that its package is needed by no one's types. */
interface WasmBackend {
  wasm: {asm?: {memory?: WebAssembly.Memory}; wasmMemory?: WebAssembly.Memory; HEAPU8: Uint8Array} & {
    _malloc(bytes: number): number;
    _free(address: number): void;
  };
  dataIdMap: {get(dataId: DataId): {memoryOffset: number}};
  makeOutput(shape: number[], dtype: 'float32'): TensorInfo;
  typedArrayFromHeap(info: TensorInfo): TypedArray;
}

/** tfjs's memory, where this build of it lets others reach it. */
export function tfjsMemory(backend: KernelBackend): WebAssembly.Memory | null {
  const {wasm} = backend as unknown as WasmBackend;
  return wasm.asm?.memory ?? wasm.wasmMemory ?? null;
}

const instances = new WeakMap<WebAssembly.Memory, Partial<Record<Variant, Kernels>>>();

function kernelsOn(memory: WebAssembly.Memory, variant: Variant): Kernels {
  const variants = instances.get(memory) ?? {};
  instances.set(memory, variants);
  return (variants[variant] ??= instantiate(variant, memory));
}

/** How one thread runs kernels. */
function serial(kernels: Kernels): Pick<Place, 'run' | 'runItem'> {
  const runItem: Place['runItem'] = (kernel, item, problem, scratch) => kernels[kernel](problem, scratch, item);
  return {
    runItem,
    run: (kernel, items, problem, scratch) => {
      for (let item = 0; item < items; item++) runItem(kernel, item, problem, scratch);
    },
  };
}

/** Works on the tensors where they are. One thread: tfjs's memory is not shared. */
export function workInPlace(backend: KernelBackend, memory: WebAssembly.Memory, variant: Variant): Workplace {
  const {wasm, dataIdMap, makeOutput} = bound(backend as unknown as WasmBackend);
  const kernels = kernelsOn(memory, variant);
  const temporaries: number[] = [];
  const addressOf = (info: TensorInfo): number => dataIdMap.get(info.dataId).memoryOffset;
  return {
    place: {
      memory,
      threads: 1,
      allocate: bytes => {
        const address = wasm._malloc(bytes) >>> 0; // above 2 GiB it comes as a negative number
        if (address === 0) throw new Error(`tfjs's wasm memory has no room for ${bytes} bytes of temporaries.`);
        temporaries.push(address);
        return address;
      },
      ...serial(kernels),
    },
    addressOf,
    result: shape => {
      const info = makeOutput(shape, 'float32');
      return {address: addressOf(info), tensor: () => info};
    },
    release: () => temporaries.splice(0).forEach(address => wasm._free(address)),
  };
}

function bound(backend: WasmBackend) {
  return {
    wasm: backend.wasm,
    dataIdMap: backend.dataIdMap,
    makeOutput: (shape: number[], dtype: 'float32') => backend.makeOutput(shape, dtype),
  };
}

/** Values of tensors on backend `wasm` as views on its memory. */
export function wasmArrays(backend: KernelBackend): HostArrays {
  const wasm = backend as unknown as WasmBackend;
  return {
    read: info => wasm.typedArrayFromHeap(info),
    make: (shape, values) => {
      const info = wasm.makeOutput(shape, 'float32');
      wasm.typedArrayFromHeap(info).set(values);
      return info;
    },
  };
}

let ownArena: Arena | undefined;

/** Copies into a memory of ours and out of it; one thread. */
export function workOnCopies(arrays: HostArrays, variant: Variant): Workplace {
  const arena = (ownArena ??= new Arena(new WebAssembly.Memory({initial: 1, maximum: 65536})));
  const place: Place = {
    memory: arena.memory,
    threads: 1,
    allocate: bytes => arena.allocate(bytes),
    ...serial(kernelsOn(arena.memory, variant)),
  };
  return {...copying(arrays, arena, place), valuesOf: info => arrays.read(info) as Float32Array};
}

/** The same on several threads; null where there can be none. */
export function workOnThreads(arrays: HostArrays, variant: Variant, threads: number): Workplace | null {
  const pool = sharedPool(variant);
  if (!pool) return null;
  const {arena} = pool;
  return copying(arrays, arena, {
    memory: arena.memory,
    threads,
    allocate: bytes => arena.allocate(bytes),
    run: (...call) => pool.run(threads, ...call),
  });
}

function copying(arrays: HostArrays, arena: Arena, place: Place): Workplace {
  return {
    place,
    addressOf: info => arena.copyIn(arrays.read(info)),
    result: shape => {
      const length = shape.reduce((product, n) => product * n, 1);
      const address = arena.allocate(4 * length);
      return {address, tensor: () => arrays.make(shape, arena.copyOut(address, length))};
    },
    release: () => arena.reset(),
  };
}
