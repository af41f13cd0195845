/** Values of a model's constants, decoded one by one when a pattern asks; the artifacts are never copied as a whole. */
import type {io} from '@tensorflow/tfjs-core';

const BYTES: Record<string, number> = {float32: 4, int32: 4, bool: 1, complex64: 8, uint8: 1, uint16: 2, float16: 2};
/** A 4096 × 4096 causal mask is still read. */
const MAX_ELEMENTS = 2 ** 24;

export interface Constants {
  /** Shape and dtype; undefined where no weight has this name. */
  spec(name: string): io.WeightsManifestEntry | undefined;
  /** The elements; undefined where there is no such weight, its bytes are not here (streamed weights), or it is too large. */
  values(name: string): ArrayLike<number> | undefined;
}

export function constantsOf(artifacts: io.ModelArtifacts): Constants {
  const places = new Map<string, {spec: io.WeightsManifestEntry; from: number; bytes: number}>();
  let offset: number | null = 0;
  for (const spec of artifacts.weightSpecs ?? []) {
    const bytes = byteLength(spec);
    if (offset !== null && bytes !== null) places.set(spec.name, {spec, from: offset, bytes});
    else if (!places.has(spec.name)) places.set(spec.name, {spec, from: -1, bytes: 0});
    // A string weight's length is written inside it: what follows has no known place.
    offset = offset === null || bytes === null ? null : offset + bytes;
  }
  const decoded = new Map<string, ArrayLike<number> | undefined>();
  const read = (name: string): ArrayLike<number> | undefined => {
    const place = places.get(name);
    if (!place || place.from < 0 || !artifacts.weightData || elements(place.spec.shape) > MAX_ELEMENTS)
      return undefined;
    const data = slice(artifacts.weightData, place.from, place.bytes);
    return data.byteLength === place.bytes ? decode(data, place.spec) : undefined;
  };
  return {
    spec: name => places.get(name)?.spec,
    values: name => {
      if (!decoded.has(name)) decoded.set(name, read(name));
      return decoded.get(name);
    },
  };
}

/** Without tfjs's own decoder: that one makes tensors and so needs a backend. */
function decode(data: ArrayBuffer, {dtype, quantization}: io.WeightsManifestEntry): ArrayLike<number> | undefined {
  if (quantization) {
    const {scale = 1, min = 0} = quantization;
    if (quantization.dtype === 'float16') return Float32Array.from(new Uint16Array(data), halfToNumber);
    const codes = quantization.dtype === 'uint8' ? new Uint8Array(data) : new Uint16Array(data);
    if (dtype === 'int32') return Int32Array.from(codes, code => Math.round(code * scale + min));
    return dtype === 'float32' ? Float32Array.from(codes, code => code * scale + min) : undefined;
  }
  if (dtype === 'float32') return new Float32Array(data);
  if (dtype === 'int32') return new Int32Array(data);
  return dtype === 'bool' ? new Uint8Array(data) : undefined;
}

function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** Bytes that a weight takes in the file; null for strings. */
export function byteLength(spec: io.WeightsManifestEntry): number | null {
  const bytes = BYTES[spec.quantization?.dtype ?? spec.dtype];
  return bytes === undefined ? null : elements(spec.shape) * bytes;
}

export function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A copy of the bytes [from, from + length) of weights that may come as one buffer or as several. */
export function slice(data: io.WeightData, from: number, length: number): ArrayBuffer {
  if (!Array.isArray(data)) return data.slice(from, from + length);
  const out = new Uint8Array(length);
  let start = 0;
  let filled = 0;
  for (const buffer of data) {
    const lo = Math.max(from, start);
    const hi = Math.min(from + length, start + buffer.byteLength);
    if (lo < hi) {
      out.set(new Uint8Array(buffer, lo - start, hi - lo), lo - from);
      filled += hi - lo;
    }
    start += buffer.byteLength;
  }
  return out.buffer.slice(0, filled);
}
