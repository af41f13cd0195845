/** Which of tfjs's backends this browser has: the choice of the form, the first that is there chosen. */
import {BACKENDS} from '../messages';
import type {BackendName} from '../messages';
import {html} from './dom';

const WHAT: Record<BackendName, string> = {
  webgpu: 'compute shaders',
  webgl: 'fragment shaders',
  wasm: 'WebAssembly SIMD',
  cpu: 'JavaScript',
};

/** Why the browser lacks a backend; null where it has it. */
const CHECKS: Record<BackendName, () => Promise<string | null>> = {
  webgpu: async () => {
    if (!('gpu' in navigator)) return 'not in this browser';
    const adapter = await navigator.gpu.requestAdapter().catch(() => null);
    return adapter ? null : 'no adapter';
  },
  webgl: async () => {
    if (!('OffscreenCanvas' in globalThis)) return 'not in workers of this browser';
    return new OffscreenCanvas(1, 1).getContext('webgl2') ? null : 'no WebGL 2';
  },
  wasm: async () => ('WebAssembly' in globalThis ? null : 'not in this browser'),
  cpu: async () => null,
};

/** Fills the place with a choice of backends. @param wanted chosen where the browser has it. */
export async function offerBackends(place: HTMLElement, wanted: string | null): Promise<void> {
  const lacks = await Promise.all(BACKENDS.map(name => CHECKS[name]().catch((error: unknown) => String(error))));
  const present = BACKENDS.filter((_, n) => lacks[n] === null);
  const chosen = present.find(name => name === wanted) ?? present[0];
  place.replaceChildren(
    ...BACKENDS.map((name, n) => {
      const isMissing = lacks[n] !== null;
      const input = html('input', {type: 'radio', name: 'backend', value: name, disabled: isMissing});
      input.checked = name === chosen;
      return html('label', {class: 'check'}, input, ` ${name} `, html('small', {}, lacks[n] ?? WHAT[name]));
    }),
  );
}
