/** The harness itself: real devices answer, and what goes wrong on them fails a test. */
import * as tf from '@tensorflow/tfjs-core';
import {join} from 'node:path';
import {describeInPage} from './browser';
import {deviceOf, popScopes, pushScopes} from './error_scopes';
import {checkShader, describeOn, describeWith, openNullDevice, type NodeBackend} from './node';
import type {BrowserBackend} from './page';

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
    const device = deviceOf(tf.backend());
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

const sample = join(__dirname, 'sample_page.ts');

describe.each<BrowserBackend>(['cpu', 'wasm', 'webgl', 'webgpu'])('a page on %s', backend => {
  describeInPage({backend, module: sample}, 'a product', page => {
    it('runs, and typed arrays travel both ways', async () => {
      const sums = await page().call<Float32Array>('product', new Float32Array([1, 2]), [3, 4]);
      expect(sums).toBeInstanceOf(Float32Array);
      expect([...sums]).toEqual([11]);
    });

    it('passes errors on', async () => {
      await expect(page().call('fails')).rejects.toThrow('as it should');
      await expect(page().call('absent')).rejects.toThrow('exports no absent');
    });

    it('fails the call during which something else goes wrong', async () => {
      await expect(page().call('failsElsewhere')).rejects.toThrow('elsewhere');
      await expect(page().call('complains')).rejects.toThrow('on the console');
      await expect(page().call('backendName')).resolves.toBe(backend);
    });

    if (backend === 'webgl' || backend === 'webgpu') {
      it('fails the call that misuses the GPU', async () => {
        await expect(page().call('misuses')).rejects.toThrow(backend === 'webgl' ? 'WebGL error' : 'usage');
        await expect(page().call('backendName')).resolves.toBe(backend);
      });
    }
  });
});

describeInPage({backend: 'wasm', module: sample, crossOriginIsolated: true}, 'an isolated page', page => {
  it('may share memory', async () => {
    await expect(page().call('sharesMemory')).resolves.toBe(true);
  });
});
