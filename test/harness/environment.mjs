/**
 * Jest's Node environment with two changes: typed arrays are the outer realm's (tfjs-node's binding and Dawn make and expect
 * those), and `openDawn` opens WebGPU outside of the sandbox, where npm `webgpu`, an ES module only, can be imported.
 */
import {TestEnvironment as NodeEnvironment} from 'jest-environment-node';
import {missingParts} from '../../.ci/parts.mjs';

const BINARY_TYPES = [
  ArrayBuffer, SharedArrayBuffer, DataView, Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array,
  Uint32Array, Float32Array, Float64Array, BigInt64Array, BigUint64Array,
]; // prettier-ignore

/** One Dawn instance per set of flags and worker: instances are never closed, since closing one crashes others' devices. */
const instances = new Map();

async function dawn(flags) {
  const {create, globals} = await import('webgpu');
  const key = flags.join(' ');
  if (!instances.has(key)) instances.set(key, create([...flags, process.env.DAWN_ON_SWIFTSHADER]));
  return {gpu: instances.get(key), globals};
}

export default class TestEnvironment extends NodeEnvironment {
  async setup() {
    await super.setup();
    for (const type of BINARY_TYPES) this.global[type.name] = type;
    this.global.missingParts = Object.fromEntries(missingParts());
    this.global.openDawn = dawn;
  }
}
