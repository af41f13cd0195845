/**
 * tfjs's WebGL context as these kernels use it: programs with several targets, and a state that is left as tfjs expects it.
 * tfjs runs one output texture per program; the passes here write texture arrays, so they draw on its context themselves.
 */
import {env} from '@tensorflow/tfjs-core';
import type {KernelBackend} from '@tensorflow/tfjs-core';
import type {WebGLLimits} from '../../../kernels/webgl/plan';
import {webglBackend} from './backend';
import type {Texture, TextureUnits, WebGLBackend} from './backend';
import {ArrayPool} from './textures';
import screen from '../../../kernels/webgl/screen.vert';

export interface Program {
  program: WebGLProgram;
  uniforms: Map<string, Uniform>;
}

interface Uniform {
  location: WebGLUniformLocation;
  type: number;
  /** Texture unit of a sampler. */
  unit: number;
  /** What was set last; a program keeps its uniforms. */
  last: readonly number[];
}

export type UniformValues = Record<string, number | readonly number[]>;
export type Textures = Record<string, Texture>;
/** x, y, width, height. */
export type Rectangle = readonly [number, number, number, number];

/** WebGL 2 has at least 32 units over all stages; the shaders here use the first 16 at most. */
const SPARE_UNIT = 31;

const devices = new WeakMap<WebGL2RenderingContext, Device>();

/** Why this context cannot run the kernels; null where it can. A lost context can: the call itself says that it is lost. */
export function contextReason(backend: KernelBackend): string | null {
  if (env().getNumber('WEBGL_VERSION') !== 2) return 'it needs WebGL 2';
  if (!env().getBool('WEBGL_RENDER_FLOAT32_ENABLED')) return 'it needs float32 render targets';
  const gl = contextOf(backend);
  if (gl.isContextLost()) return null;
  return gl.getParameter(gl.MAX_DRAW_BUFFERS) < 4 ? 'it needs 4 draw buffers' : null;
}

function contextOf(backend: KernelBackend): WebGL2RenderingContext {
  return webglBackend(backend).gpgpu.gl;
}

/** @throws Error where the context is lost. */
export function deviceOf(backend: KernelBackend): Device {
  const gl = contextOf(backend);
  if (gl.isContextLost()) {
    throw new Error('flashAttention cannot run: the WebGL context of the backend was lost: make a new one.');
  }
  let device = devices.get(gl);
  if (!device) devices.set(gl, (device = new Device(gl)));
  return device;
}

export class Device implements TextureUnits {
  readonly lanes: 4 | 8;
  readonly arrays = new ArrayPool(this);
  private readonly programs = new Map<string, Map<string, Program>>();
  private readonly vertexShader: WebGLShader;
  private readonly vertexArray: WebGLVertexArrayObject;
  private readonly single: WebGLFramebuffer;
  private currentProgram: Program | null = null;
  private bound: Array<Texture | undefined> = [];

  constructor(readonly gl: WebGL2RenderingContext) {
    const parameter = (name: number): number => gl.getParameter(name) as number;
    const targets = Math.min(parameter(gl.MAX_DRAW_BUFFERS), parameter(gl.MAX_COLOR_ATTACHMENTS));
    this.lanes = targets >= 8 ? 8 : 4;
    this.vertexShader = compile(gl, gl.VERTEX_SHADER, screen);
    this.vertexArray = gl.createVertexArray()!;
    this.single = gl.createFramebuffer()!;
  }

  /** tfjs's own limit counts too, so that a page (or a test) can lower it. */
  get limits(): WebGLLimits {
    return {textureSize: env().getNumber('WEBGL_MAX_TEXTURE_SIZE'), lanes: this.lanes};
  }

  /**
   * The program of a static shader behind a header of its constants, which together are the key: `common`, what stands between
   * them, follows from both. Whole sources as keys would be put together and hashed for every pass of every call.
   */
  program(header: string, common: readonly string[], shader: string): Program {
    const programs = this.programs.get(shader) ?? new Map<string, Program>();
    this.programs.set(shader, programs);
    let program = programs.get(header);
    if (!program) {
      const source = [
        '#version 300 es\nprecision highp int;\nprecision highp sampler2D;',
        header,
        ...common,
        shader,
      ].join('\n');
      programs.set(header, (program = this.link(source)));
    }
    return program;
  }

  useSpareUnit(): void {
    this.gl.activeTexture(this.gl.TEXTURE0 + SPARE_UNIT);
  }

  /** Runs draws with the state they need, and leaves the context as tfjs leaves it; tf.time and tf.profile see `name`. */
  run<T>(backend: WebGLBackend, name: string, draws: () => T): T {
    const {gl} = this;
    const query = backend.activeTimers ? backend.startTimer() : null;
    gl.bindVertexArray(this.vertexArray);
    try {
      return draws();
    } finally {
      if (query !== null) {
        backend.activeTimers!.push({name, query: backend.getQueryTime(backend.endTimer(query))});
      }
      this.restore(backend);
    }
  }

  /** Draws every fragment of a rectangle of a framebuffer, or of a 2D texture. */
  draw(
    program: Program,
    target: WebGLFramebuffer | Texture,
    [x, y, width, height]: Rectangle,
    uniforms: UniformValues,
    textures: Textures,
  ): void {
    const {gl} = this;
    if (this.currentProgram !== program) gl.useProgram(program.program);
    this.currentProgram = program;
    if ('texture' in target) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.single);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target.texture, 0);
    } else {
      gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    }
    gl.viewport(x, y, width, height);
    gl.scissor(x, y, width, height);
    for (const [name, value] of Object.entries(uniforms)) this.setUniform(program, name, value);
    for (const [name, texture] of Object.entries(textures)) this.bind(program, name, texture);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** Hands what was drawn to the GPU: long work goes in pieces, so that no watchdog takes it for a hang. */
  finishStep(): void {
    this.gl.flush();
  }

  /** A uniform that the compiler found unused has no location, and needs none. */
  private setUniform(program: Program, name: string, value: number | readonly number[]): void {
    const uniform = program.uniforms.get(name);
    if (!uniform) return;
    const values = typeof value === 'number' ? [value] : value;
    const {last} = uniform;
    if (last.length === values.length && values.every((v, n) => v === last[n])) return;
    uniform.last = values;
    const {gl} = this;
    if (uniform.type === gl.FLOAT) gl.uniform1fv(uniform.location, values);
    else if (uniform.type === gl.UNSIGNED_INT) gl.uniform1uiv(uniform.location, values);
    else gl[`uniform${values.length as 1 | 2 | 3 | 4}iv`](uniform.location, values);
  }

  private bind(program: Program, name: string, texture: Texture): void {
    const uniform = program.uniforms.get(name);
    if (!uniform || this.bound[uniform.unit]?.texture === texture.texture) return;
    const {gl} = this;
    gl.activeTexture(gl.TEXTURE0 + uniform.unit);
    const previous = this.bound[uniform.unit];
    if (previous && previous.target !== texture.target) gl.bindTexture(previous.target, null);
    gl.bindTexture(texture.target, texture.texture);
    this.bound[uniform.unit] = texture;
  }

  /** tfjs binds program, vertex array, framebuffer, viewport, scissor and textures for each of its own draws. */
  private restore({gpgpu}: WebGLBackend): void {
    const {gl} = this;
    this.bound.forEach((texture, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(texture!.target, null);
    });
    this.bound = [];
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.single);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, null, 0);
    gl.bindFramebuffer(gl.FRAMEBUFFER, gpgpu.framebuffer);
    gl.bindVertexArray(gpgpu.program?.vao ?? null);
    gl.useProgram(gpgpu.program);
    this.currentProgram = null;
  }

  private link(source: string): Program {
    const {gl} = this;
    const program = gl.createProgram();
    const fragmentShader = compile(gl, gl.FRAGMENT_SHADER, source);
    gl.attachShader(program, this.vertexShader);
    gl.attachShader(program, fragmentShader);
    gl.linkProgram(program);
    gl.deleteShader(fragmentShader);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`A flashAttention shader does not link: ${gl.getProgramInfoLog(program)}`);
    }
    gl.useProgram(program);
    const uniforms = new Map<string, Uniform>();
    const count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) as number;
    const samplers = [gl.SAMPLER_2D, gl.SAMPLER_2D_ARRAY, gl.UNSIGNED_INT_SAMPLER_2D_ARRAY] as number[];
    let units = 0;
    for (let n = 0; n < count; n++) {
      const {name, type} = gl.getActiveUniform(program, n)!;
      const location = gl.getUniformLocation(program, name)!;
      const unit = samplers.includes(type) ? units++ : -1;
      if (unit >= 0) gl.uniform1i(location, unit);
      uniforms.set(name, {location, type, unit, last: []});
    }
    const linked = {program, uniforms};
    this.currentProgram = linked;
    return linked;
  }
}

function compile(gl: WebGL2RenderingContext, type: number, source: string): WebGLShader {
  const shader = gl.createShader(type)!;
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
    throw new Error(`A flashAttention shader does not compile: ${gl.getShaderInfoLog(shader)}`);
  }
  return shader;
}
