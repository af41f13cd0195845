/** The harness itself: real devices answer, and what goes wrong on them fails a test. */
import * as tf from '@tensorflow/tfjs-core';
import {checkShader, describeOn, describeWith, openNullDevice, popScopes, pushScopes, type NodeBackend} from './node';

describe.each<NodeBackend>(['cpu', 'wasm', 'tensorflow', 'webgpu'])('%s', backend => {
  describeOn(backend, 'a product', () => {
    it('runs, and its data is a Float32Array', async () => {
      expect(tf.getBackend()).toBe(backend);
      const data = await tf.matMul([[1, 2]], [[3], [4]]).data();
      expect(data).toBeInstanceOf(Float32Array);
      expect([...data]).toEqual([11]);
    });
  });
});

describeOn('webgpu', 'a mistake', () => {
  it('is found by the error scopes', async () => {
    const {device} = tf.backend() as unknown as {device: GPUDevice};
    pushScopes(device);
    device.createBuffer({size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE});
    await expect(popScopes(device)).rejects.toThrow('usage');
  });
});

describeWith(['dawn'], 'the null device', () => {
  it('compiles shaders with f16 and subgroups, and refuses wrong ones', async () => {
    const device = await openNullDevice();
    const shader = (value: string) =>
      `enable f16; enable subgroups;
       @group(0) @binding(0) var<storage, read_write> x: array<f16>;
       @compute @workgroup_size(32) fn main(@builtin(subgroup_size) n: u32) { x[n] = subgroupAdd(${value}); }`;
    await checkShader(device, shader('1.0h'));
    await expect(checkShader(device, shader('true'))).rejects.toThrow('subgroupAdd');
  });
});
