/** What a call holds besides inputs and output: as tfjs counts it on GPUs, elsewhere as `explain` plans it. */
import * as tf from '@tensorflow/tfjs-core';
import type {Explanation} from 'tfjs-flash-attention';
import type {Both, Held} from '../messages';
import type {Chain} from './contestants';
import {flash} from './contestants';
import type {Inputs} from './inputs';
import {batchTime} from './timing';

/** @param chain null where it is not run. */
export async function heldMemory(inputs: Inputs, chain: Chain | null, {memory}: Explanation): Promise<Both<Held>> {
  const planned = {
    chain: {bytes: memory.unfused, source: 'planned'},
    flash: {bytes: memory.fused, source: 'planned'},
  } as const;
  const {backend, B, H, N, D} = inputs.settings;
  if (bytesInGPU() === undefined) return planned;
  const outputBytes = 4 * B * H * N * D;
  const measured = async (run: (afterOp: () => void) => tf.Tensor): Promise<Held> => {
    await batchTime(() => run(() => undefined), 1); // what stays with the device, and what earlier calls left
    const before = bytesInGPU()!;
    let peak = before;
    const look = (): void => void (peak = Math.max(peak, bytesInGPU()!));
    await batchTime(() => {
      const output = run(look);
      look();
      return output;
    }, 1);
    return {bytes: Math.max(0, peak - before - outputBytes), source: 'measured'};
  };
  return {
    chain: chain ? await measured(chain.run) : planned.chain,
    // On webgl the fused op's texture arrays are its own, and tfjs does not count them.
    flash: backend === 'webgpu' ? await measured(() => flash(inputs)) : planned.flash,
  };
}

function bytesInGPU(): number | undefined {
  return (tf.memory() as tf.MemoryInfo & {numBytesInGPU?: number}).numBytesInGPU;
}
