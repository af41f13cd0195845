/** Random q, k, v for one call, on the device and on the host, and what causality and window leave visible. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor4D} from '@tensorflow/tfjs-core';
import type {FlashAttentionOptions} from 'tfjs-flash-attention';
import type {Settings} from '../messages';

export interface Inputs {
  settings: Settings;
  /** [B, H, N, D] each. */
  q: Tensor4D;
  k: Tensor4D;
  v: Tensor4D;
  host: {q: Float32Array; k: Float32Array; v: Float32Array};
  options: FlashAttentionOptions;
}

export function makeInputs(settings: Settings): Inputs {
  const {B, H, N, D, causal, window, float16} = settings;
  const make = (seed: number): Float32Array => normalNumbers(B * H * N * D, seed);
  const host = {q: make(1), k: make(2), v: make(3)};
  const onDevice = (values: Float32Array): Tensor4D => tf.tensor4d(values, [B, H, N, D]);
  const options: FlashAttentionOptions = {
    ...(causal && {causal}),
    ...(isWindowed(settings) && {window}),
    ...(float16 && {precision: 'float16'}),
  };
  return {settings, q: onDevice(host.q), k: onDevice(host.k), v: onDevice(host.v), host, options};
}

/** The keys from ≤ j < to that query i sees. */
export function visibleRange({N, causal, window: [left, right]}: Settings, i: number): {from: number; to: number} {
  const to = Math.min(N, causal ? i + 1 : N, right < 0 ? N : i + right + 1);
  return {from: left < 0 ? 0 : Math.max(0, i - left), to};
}

export function hidesKeys(settings: Settings): boolean {
  return settings.causal || isWindowed(settings);
}

function isWindowed({window: [left, right]}: Settings): boolean {
  return left >= 0 || right >= 0;
}

/** [N, N] to be added to the scores: 0 where a key is visible, else −1e9; null where every key is. */
export function hidingBias(settings: Settings): Tensor | null {
  if (!hidesKeys(settings)) return null;
  const {N} = settings;
  const bias = new Float32Array(N * N).fill(-1e9);
  for (let i = 0; i < N; i++) {
    const {from, to} = visibleRange(settings, i);
    bias.fill(0, i * N + from, i * N + to);
  }
  return tf.tensor2d(bias, [N, N]);
}

/** Standard normal numbers, the same for the same seed: mulberry32 and the Box–Muller transform. */
function normalNumbers(length: number, seed: number): Float32Array {
  let state = seed * 0x9e3779b9;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const numbers = new Float32Array(length);
  for (let n = 0; n < length; n += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    numbers[n] = radius * Math.cos(angle);
    if (n + 1 < length) numbers[n + 1] = radius * Math.sin(angle);
  }
  return numbers;
}
