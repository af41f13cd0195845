/** The arena inside a page, for backends that Node has not. */
import * as tf from '@tensorflow/tfjs-core';
import {bytesCreatedOnDevice} from '../../contract/allocations';
import {compete} from './arena';
import type {Arena} from './arena';
import {roofsOfBackend} from './backend_roofs';
import {megabytesOfFirstRun} from './memory';
import type {Problem, Roofs} from './result';

/** What the page's driver calls itself. */
export function gpuOfPage(): string {
  const {gl} = (tf.backend() as unknown as {gpgpu: {gl: WebGL2RenderingContext}}).gpgpu;
  const unmasked = gl.getExtension('WEBGL_debug_renderer_info');
  return String(gl.getParameter(unmasked ? unmasked.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}

export const roofs = (): Promise<Roofs> => roofsOfBackend();

export const arena = (problems: Problem[], rounds: number, roofs: Roofs): Promise<Arena> =>
  compete({problems, rounds, roofs, say: text => console.log(text)});

/** In a page that has run nothing yet, MB. */
export const megabytes = (contestant: string, problem: Problem): Promise<number | undefined> =>
  megabytesOfFirstRun('webgl', contestant, problem, bytesCreatedOnDevice);
