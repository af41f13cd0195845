/** What these kernels use of tfjs's WebGL backend, so that its package is needed by no one's types. */
import type {DataId, DataType, KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';

export interface Texture {
  texture: WebGLTexture;
  /** TEXTURE_2D or TEXTURE_2D_ARRAY. */
  target: number;
}

/** What tfjs's WebGL backend knows of a tensor. */
export interface TextureData {
  shape: number[];
  texture: {texture: WebGLTexture} | null;
  /** Rows and columns of values; null until there is a texture. */
  texShape: [number, number] | null;
  isPacked?: boolean;
  slice?: {flatOffset: number} | null;
}

/** The part of tfjs's MathBackendWebGL that is used here, private members (from `numBytesInGPU` on) included: tfjs 4.x. */
export interface WebGLBackend {
  gpgpu: {
    gl: WebGL2RenderingContext;
    framebuffer: WebGLFramebuffer;
    program: (WebGLProgram & {vao: WebGLVertexArrayObject}) | null;
  };
  texData: {get(dataId: DataId): TextureData};
  makeTensorInfo(shape: number[], dtype: DataType, values?: Float32Array): TensorInfo;
  uploadToGPU(dataId: DataId): void;
  disposeIntermediateTensorInfo(info: TensorInfo): void;
  getTextureManager(): object;
  numBytesInGPU: number;
  activeTimers?: Array<{name: string; query: Promise<number>}>;
  startTimer(): unknown;
  endTimer(query: unknown): unknown;
  getQueryTime(query: unknown): Promise<number>;
}

export function webglBackend(backend: KernelBackend): WebGLBackend {
  return backend as unknown as WebGLBackend;
}

/** The context, with a way to bind textures beside those of the draws. */
export interface TextureUnits {
  gl: WebGL2RenderingContext;
  /** Makes room for code that binds textures by itself: it works on a unit that no shader here uses. */
  useSpareUnit(): void;
}
