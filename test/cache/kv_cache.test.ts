/** The key/value cache: against one call over everything, leaks, memory and complaints. */
import * as tf from '@tensorflow/tfjs';
import {join} from 'node:path';
import {GroupedQueryAttention, KVCache, multiHeadAttention} from 'tfjs-flash-attention/layers';
import type {KVCacheOptions} from 'tfjs-flash-attention/layers';
import {describeInPage} from '../harness/browser';
import {FULL_TABLE} from '../harness/full_table';
import {describeOn, type NodeBackend} from '../harness/node';
import {normal} from '../layers/checks';
import {cacheChecks} from './checks';

const OPTIONS: KVCacheOptions = {layers: 1, batch: 1, heads: 2, headDim: 4, capacity: 8};
const zeros = (n: number, heads = 2, D = 4): tf.Tensor => tf.zeros([1, heads, n, D]);

/**
 * The other layout is the layers' affair, and merged pages are the contract's; software GPUs compile a model's kernels for them again.
 * All with FULL_TABLE.
 */
const namesOnGpu = Object.keys(cacheChecks).filter(name => FULL_TABLE || !/other layout|over pages/.test(name));

describe.each<NodeBackend>(['cpu', 'wasm', 'tensorflow', 'webgpu'])('%s', backend => {
  describeOn(backend, 'the cache', () => {
    it.each(backend === 'webgpu' ? namesOnGpu : Object.keys(cacheChecks))('%s', name => cacheChecks[name]());
  });
});

describeInPage({backend: 'webgl', module: join(__dirname, '../layers/checks_page.ts')}, 'the cache', page => {
  it.each(namesOnGpu)('%s', name => page().call('runCacheCheck', name));
});

describeOn('cpu', 'the cache', () => {
  it('leaves no tensor behind in 1,000 decode steps', () => {
    const layer = multiHeadAttention({numHeads: 2, keyDim: 4, rotary: true, useCausalMask: true});
    const token = normal([1, 1, 8], 1);
    tf.dispose(layer.apply(token) as tf.Tensor);
    const before = tf.memory();
    const cache = new KVCache({...OPTIONS, capacity: 1000, pageSize: 256});
    for (let step = 0; step < 1000; step++) {
      tf.dispose(layer.apply(token, {cache}) as tf.Tensor);
      const pages = Math.ceil((step + 1) / 256);
      if (tf.memory().numTensors !== before.numTensors + 2 * pages)
        throw new Error(`step ${step}: ${tf.memory().numTensors}`);
    }
    expect(tf.memory().numBytes - before.numBytes).toBe(2 * 4 * 256 * 2 * 4 * 4); // k and v, 4 pages of float32
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before.numTensors);
  });

  it('stops at its capacity without a change, or grows where it was asked to', () => {
    const cache = new KVCache(OPTIONS);
    cache.append(0, zeros(7), zeros(7));
    const before = tf.memory().numTensors;
    const two = zeros(2);
    expect(() => cache.append(0, two, two)).toThrow(
      `Argument 'k' passed to 'KVCache.append' must leave no sequence longer than the cache's capacity (8), but got 2 tokens that make 9.`,
    );
    expect(tf.memory().numTensors - before).toBe(1);
    expect(cache.lengths()).toEqual([7]);
    const growing = new KVCache({...OPTIONS, grow: true, pageSize: 4});
    for (let n = 0; n < 5; n++) growing.append(0, two, two);
    expect(growing.lengths()).toEqual([10]);
  });

  it('answers zeros where nothing is cached', async () => {
    const output = new KVCache(OPTIONS).attend(normal([1, 4, 3, 4], 1), 0, {sinks: [1, 2, 3, 4]});
    expect([...(await output.data())]).toEqual(Array(48).fill(0));
  });

  const misuse = (f: (cache: KVCache) => unknown) => () => f(new KVCache(OPTIONS));
  const x = (): tf.Tensor => tf.zeros([1, 2, 8]);
  it.each<[string, () => unknown, string]>([
    ['capacity 0', () => new KVCache({...OPTIONS, capacity: 0}), `Argument 'capacity' passed to 'KVCache' must be an integer of at least 1, but got 0.`],
    ['a layout', () => new KVCache({...OPTIONS, layout: 'BSD' as 'BSHD'}), `Argument 'layout' passed to 'KVCache' must be 'BHSD' or 'BSHD', but got 'BSD'.`],
    ['a layer that is not there', misuse(cache => cache.append(1, zeros(1), zeros(1))), `Argument 'layer' passed to 'KVCache.append' must be an integer in [0, 1), but got 1.`],
    ['wrong heads', misuse(cache => cache.append(0, zeros(1, 3), zeros(1, 3))), `Argument 'k' passed to 'KVCache.append' must be a float32 tensor of shape [1,2,n,4], but got shape [1,3,1,4].`],
    ['a wrong width', misuse(cache => cache.append(0, zeros(1), zeros(1, 2, 5))), `Argument 'v' passed to 'KVCache.append' must be a float32 tensor of shape [1,2,n,4], but got shape [1,2,1,5].`],
    ['k and v of different lengths', misuse(cache => cache.append(0, zeros(1), zeros(2))), `Argument 'v' passed to 'KVCache.append' must have as many tokens as k (1), but got shape [1,2,2,4].`],
    ['lengths', misuse(cache => cache.append(0, zeros(1), zeros(1), {lengths: [2]})), `Argument 'lengths' passed to 'KVCache.append' must be 1 integers from 0 to 1, but got [2].`],
    ['a mask of a wrong shape', misuse(cache => {
      cache.append(0, zeros(3), zeros(3));
      return cache.attend(zeros(1), 0, {mask: tf.ones([1, 1, 1, 4], 'bool')});
    }), `Argument 'mask' passed to 'KVCache.attend' must have the number of cached keys (3) or 1 as its last dimension, but got shape [1,1,1,4].`],
    ['dropout', misuse(cache => cache.attend(zeros(1), 0, {dropout: 0.1} as object)), `Argument 'options' passed to 'KVCache.attend' must hold no option that the cache decides, but got 'dropout'.`],
    ['reorder', misuse(cache => cache.reorder([1])), `Argument 'indices' passed to 'KVCache.reorder' must be a list of integers in [0, 1), but got [1].`],
    ['use after dispose', misuse(cache => {
      cache.dispose();
      return cache.lengths();
    }), 'KVCache.lengths was called on a cache that is disposed.'],
    ['a cache of another model', misuse(cache => new GroupedQueryAttention({headDim: 4, numQueryHeads: 4, numKeyValueHeads: 4}).apply(x(), {cache})), `Argument 'cache' passed to 'GroupedQueryAttention' must be made with heads 4, but got one with heads 2.`],
    ['a cache of fewer layers', misuse(cache => {
      for (const name of ['a', 'b']) multiHeadAttention({numHeads: 2, keyDim: 4, name}).apply(x(), {cache});
    }), `Argument 'layers' passed to 'KVCache' must be the number of attention layers that use the cache, but got 1, and one more came.`],
    ['something else as a cache', () => multiHeadAttention({numHeads: 2, keyDim: 4}).apply(x(), {cache: 3}), `Argument 'cache' passed to 'MultiHeadAttention' must be a KVCache, but got 3.`],
  ])('complains about %s', (_, f, message) => {
    expect(f).toThrow(message);
  }); // prettier-ignore
});
