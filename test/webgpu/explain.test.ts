/** What `explain` says of a call on WebGPU, held to what is dispatched; of the half-precision kernels in halves.test.ts. */
import * as tf from '@tensorflow/tfjs-core';
import type {FlashAttentionOptions} from '../../src';
import {describeWith, useBackend} from '../harness/node';
import {useFullDevice} from './full_device';
import {holdToDispatches} from './hold_to_dispatches';

function holdsWhatItSays(
  what: string,
  Sq: number,
  Sk: number,
  kernel: string,
  options: () => FlashAttentionOptions = () => ({}),
): void {
  it(`${what}: ${kernel}`, async () => {
    const given = options();
    await holdToDispatches(kernel, {H: 4, Hkv: 2, Sq, Sk, D: 16, Dv: 24}, given);
    tf.dispose(Object.values(given).filter(x => x instanceof tf.Tensor));
  });
}

describeWith(['dawn'], 'explain on tfjs’s own device', () => {
  useBackend('webgpu');
  holdsWhatItSays('few keys', 70, 40, 'webgpu-plain');
  holdsWhatItSays('keys in parts', 70, 600, 'webgpu-plain');
  holdsWhatItSays('every kind of option', 70, 40, 'webgpu-plain', () => ({
    bias: tf.zeros([70, 40]),
    mask: tf.ones([70, 40], 'bool'),
    keyLengths: tf.tensor1d([40], 'int32'),
    sinks: tf.zeros([4]),
  }));
});

describeWith(['dawn'], 'explain on a device with subgroups', () => {
  useFullDevice();
  holdsWhatItSays('keys in parts', 70, 300, 'webgpu-subgroups');
  holdsWhatItSays('few queries', 2, 300, 'webgpu-decode');
});
