/** What `explain` says of a call on WebGPU, held to what is dispatched: kernels, workgroups, arrays in workgroup memory, buffers. */
import * as tf from '@tensorflow/tfjs-core';
import {explain, flashAttention} from '../../src';
import {internalsOf} from '../../src/backends/webgpu/device';
import {describeWith, useBackend} from '../harness/node';
import {useFullDevice} from './full_device';
import {watch} from './watch';
import {workgroupArrays} from './workgroup_arrays';

/** What a kernel that `explain` names is called where it is dispatched. */
const LABELS: Record<string, string> = {
  'webgpu-plain': 'forward', 'webgpu-subgroups': 'forward', 'webgpu-decode': 'decode',
  'webgpu-half': 'forwardHalf', 'webgpu-matrix': 'forwardMatrix',
}; // prettier-ignore

const [H, Hkv, D, Dv] = [4, 2, 16, 24];

function holdsWhatItSays(what: string, Sq: number, Sk: number, kernel: string): void {
  it(`${what}: ${kernel}`, async () => {
    const [q, k, v] = [tf.ones([1, H, Sq, D]), tf.ones([1, Hkv, Sk, D]), tf.ones([1, Hkv, Sk, Dv])];
    for (const {dataId} of [q, k, v]) internalsOf(tf.backend()).uploadToGPU(dataId);
    const said = explain(q, k, v);
    const {dispatches, shaders, bufferBytes} = await watch(() => flashAttention(q, k, v));
    tf.dispose([q, k, v]);

    expect(said.kernel).toBe(kernel);
    expect(said.reasons.map(({name}) => name).sort()).toEqual([...Object.keys(LABELS).filter(name => name !== kernel), 'composed'].sort()); // prettier-ignore
    const {queries, splits} = said.tiles;
    const workgroups = Hkv * Math.ceil((Sq * (H / Hkv)) / queries) * splits;
    const own = dispatches.filter(({kernel: name}) => [...Object.values(LABELS), 'merge'].includes(name));
    expect(own[0]).toEqual({kernel: LABELS[kernel], workgroups});
    expect(own.slice(1).map(({kernel: name}) => name)).toEqual(splits > 1 ? ['merge'] : []);
    expect(said.onChip).toEqual(workgroupArrays(shaders[LABELS[kernel]]));
    const outputs = 4 * H * Sq * (Dv + 2); // with lse's two parts
    expect(said.memory.fused).toBe(bufferBytes - outputs);
  });
}

describeWith(['dawn'], 'explain on tfjs’s own device', () => {
  useBackend('webgpu');
  holdsWhatItSays('few keys', 70, 40, 'webgpu-plain');
  holdsWhatItSays('keys in parts', 70, 600, 'webgpu-plain');
});

describeWith(['dawn'], 'explain on a device with subgroups', () => {
  useFullDevice();
  holdsWhatItSays('keys in parts', 70, 300, 'webgpu-subgroups');
  holdsWhatItSays('few queries', 2, 300, 'webgpu-decode');
});
