/** What the figures were measured on: names, versions, and the roofs in this run. */
import {readFileSync} from 'node:fs';
import {cpus, release, type as systemName} from 'node:os';
import {join} from 'node:path';
import {instantiateProbe, PEAK_FLOPS} from '../../../kernels/wasm/probe';
import {chosenVariant} from '../../../src/backends/wasm_settings';
import {roofsOfBackend} from './backend_roofs';
import type {Backend, Result, Roofs} from './result';

/** GFLOP/s of multiply-adds on one core's registers alone; the best of a few, for others may be on the machine. */
function peakOfCore(): number {
  const probe = instantiateProbe(chosenVariant(), new WebAssembly.Memory({initial: 1, maximum: 1}));
  const rounds = 2e6;
  return fastest(() => void probe.peak(rounds), rounds * PEAK_FLOPS);
}

const COPIED_BYTES = 2 ** 26;

/** GB/s that a copy reads and writes. */
function copyOfCore(): number {
  const [from, to] = [new Float32Array(COPIED_BYTES / 4).fill(1), new Float32Array(COPIED_BYTES / 4)];
  return fastest(() => to.set(from), 2 * COPIED_BYTES);
}

/** The best rate, in 10⁹ a second, of a few runs that do `work` each. */
function fastest(run: () => void, work: number): number {
  run();
  const rates = Array.from({length: 7}, () => {
    const begin = performance.now();
    run();
    return work / (performance.now() - begin) / 1e6;
  });
  return Math.max(...rates);
}

/** Of the processor's cores that take part, or of the backend's own large product where it has arithmetic of its own. */
export async function roofsOf(backend: Backend, threads: number): Promise<Roofs> {
  if (backend === 'cpu' || backend === 'wasm') {
    const cores = threads === 1 ? 'one core' : `${threads} cores`;
    const by = `multiply-adds in WebAssembly (${chosenVariant()}), ${cores}; a copy of ${COPIED_BYTES / 2 ** 20} MiB`;
    return {gflops: threads * peakOfCore(), bandwidth: copyOfCore(), by};
  }
  return roofsOfBackend();
}

export function describeMachine(): Result['machine'] {
  return {cpu: cpus()[0].model.trim(), cores: cpus().length, system: `${systemName()} ${release().split('-')[0]}`};
}

export function versionOf(name: string): string {
  return (JSON.parse(readFileSync(join('node_modules', name, 'package.json'), 'utf8')) as {version: string}).version;
}
