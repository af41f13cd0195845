/** The kernels' arithmetic by itself, for tests and benchmarks (assembly/probe.ts): nothing that is published imports this. */
import {PROBES} from './generated/probes';
import type {Variant} from './module';

export interface Probe {
  /** data[i] = e^data[i], in place; `count` is a multiple of 4. */
  exponential(data: number, count: number): void;
  hyperbolicTangent(data: number, count: number): void;
  /** Runs `rounds` times `PEAK_FLOPS` on registers alone: what a core can do at most. */
  peak(rounds: number): number;
}

/** 12 multiply-adds of 4 lanes. */
export const PEAK_FLOPS = 12 * 4 * 2;

export function instantiateProbe(variant: Variant, memory: WebAssembly.Memory): Probe {
  const bytes = Uint8Array.from(atob(PROBES[variant]), character => character.charCodeAt(0));
  return new WebAssembly.Instance(new WebAssembly.Module(bytes), {env: {memory}}).exports as unknown as Probe;
}
