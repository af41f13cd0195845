/**
 * Textures of the WebGL passes. Tensors are tfjs's own textures, from its texture manager; what it has no format for, texture
 * arrays as render targets, is pooled here and counted in the same numbers.
 */
import {env} from '@tensorflow/tfjs-core';
import type {TensorInfo} from '@tensorflow/tfjs-core';
import type {Texture, TextureUnits, WebGLBackend as Backend} from './backend';

/** A tfjs tensor as the shaders read it. */
export interface TensorView extends Texture {
  packed: boolean;
  /** What load_packed and load_unpacked take: texture width, offset of the first value, rows, columns. */
  shape: readonly [number, number, number, number];
}

/** Uploads the tensor if it is on the host only; nothing is copied otherwise, whatever its packing. */
export function viewTensor(backend: Backend, {dataId}: TensorInfo): TensorView {
  backend.uploadToGPU(dataId);
  const data = backend.texData.get(dataId);
  const width = data.texShape![1];
  const rows = data.shape.length > 1 ? data.shape[data.shape.length - 2] : 1;
  const columns = data.shape.length > 0 ? data.shape[data.shape.length - 1] : 1;
  const packed = Boolean(data.isPacked);
  return {
    texture: data.texture!.texture,
    target: backend.gpgpu.gl.TEXTURE_2D,
    packed,
    shape: [packed ? Math.ceil(width / 2) : width, data.slice?.flatOffset ?? 0, rows, columns],
  };
}

/** A new tensor with its texture. */
export interface TensorTarget extends Texture {
  info: TensorInfo;
  packed: boolean;
  width: number;
  height: number;
}

export function newTensor(device: TextureUnits, backend: Backend, shape: number[], packed: boolean): TensorTarget {
  const info = backend.makeTensorInfo(shape, 'float32');
  const data = backend.texData.get(info.dataId);
  data.isPacked = packed;
  device.useSpareUnit();
  backend.uploadToGPU(info.dataId);
  const [height, width] = data.texShape!.map(n => (packed ? Math.ceil(n / 2) : n));
  return {info, packed, texture: data.texture!.texture, target: backend.gpgpu.gl.TEXTURE_2D, width, height};
}

/** A texture array as render target and source; `uints` is one more beside it, whose layers are the first targets. */
export interface TextureArray extends Texture {
  uints: Texture | null;
  framebuffer: WebGLFramebuffer;
  bytes: number;
  key: string;
}

/** tfjs's counts of allocated and free bytes, private in its texture manager. */
interface TextureCounts {
  _numBytesAllocated: number;
  _numBytesFree: number;
}

const BYTES_PER_TEXEL = 16;
/** Free arrays are kept for the next call up to this many bytes; the oldest go first. */
const MOST_FREE_BYTES = 2 ** 28;

export class ArrayPool {
  private free: TextureArray[] = [];

  constructor(private readonly device: TextureUnits) {}

  /** RGBA32F in `layers`, RGBA32UI (eight halves per texel) in `uintLayers`. */
  acquire(backend: Backend, width: number, height: number, layers: number, uintLayers: number): TextureArray {
    const key = `${width} ${height} ${layers} ${uintLayers}`;
    const found = this.free.findIndex(array => array.key === key);
    const counts = countsOf(backend);
    const array = found >= 0 ? this.free.splice(found, 1)[0] : this.create(key, width, height, layers, uintLayers);
    if (found >= 0) counts._numBytesFree -= array.bytes;
    else counts._numBytesAllocated += array.bytes;
    backend.numBytesInGPU += array.bytes;
    return array;
  }

  release(backend: Backend, array: TextureArray): void {
    const counts = countsOf(backend);
    backend.numBytesInGPU -= array.bytes;
    counts._numBytesFree += array.bytes;
    this.free.push(array);
    const threshold = env().getNumber('WEBGL_DELETE_TEXTURE_THRESHOLD');
    const isOver = (): boolean => threshold !== -1 && counts._numBytesAllocated > threshold;
    const freeBytes = (): number => this.free.reduce((sum, {bytes}) => sum + bytes, 0);
    while (this.free.length > 0 && (isOver() || freeBytes() > MOST_FREE_BYTES))
      this.destroy(counts, this.free.shift()!);
  }

  private create(key: string, width: number, height: number, layers: number, uintLayers: number): TextureArray {
    const {gl} = this.device;
    const target = gl.TEXTURE_2D_ARRAY;
    const framebuffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
    this.device.useSpareUnit();
    const attachments: number[] = [];
    const attach = (format: number, count: number): Texture | null => {
      if (count === 0) return null;
      const texture = gl.createTexture();
      gl.bindTexture(target, texture);
      gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
      gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
      gl.texStorage3D(target, 1, format, width, height, count);
      gl.bindTexture(target, null);
      for (let layer = 0; layer < count; layer++) {
        const attachment = gl.COLOR_ATTACHMENT0 + attachments.length;
        gl.framebufferTextureLayer(gl.FRAMEBUFFER, attachment, texture, 0, layer);
        attachments.push(attachment);
      }
      return {texture, target};
    };
    const uints = attach(gl.RGBA32UI, uintLayers);
    const floats = attach(gl.RGBA32F, layers);
    gl.drawBuffers(attachments);
    const bytes = width * height * attachments.length * BYTES_PER_TEXEL;
    return {...(floats ?? uints)!, uints, framebuffer, bytes, key};
  }

  private destroy(counts: TextureCounts, array: TextureArray): void {
    const {gl} = this.device;
    gl.deleteFramebuffer(array.framebuffer);
    gl.deleteTexture(array.texture);
    if (array.uints) gl.deleteTexture(array.uints.texture);
    counts._numBytesAllocated -= array.bytes;
    counts._numBytesFree -= array.bytes;
  }
}

function countsOf(backend: Backend): TextureCounts {
  return backend.getTextureManager() as unknown as TextureCounts;
}
