/** The roofs that the current backend's own ops reach; in Node and in a page. */
import {measureRoofs} from '../../../examples/playground/worker/machine';
import type {Roofs} from './result';

export async function roofsOfBackend(): Promise<Roofs> {
  const {flops, side, bandwidth, copyBytes} = await measureRoofs();
  const by = `tf.matMul of ${side} × ${side}; tf.neg of ${Math.round(copyBytes / 2 ** 20)} MiB`;
  return {gflops: flops / 1e9, bandwidth: bandwidth / 1e9, by};
}
