/** `explain` names the implementation that then serves, counts by hand-checked formulas, runs nothing and leaves nothing. */
import * as tf from '@tensorflow/tfjs-core';
import {explain, flashAttention} from 'tfjs-flash-attention';
import type {ExplainOptions} from 'tfjs-flash-attention';
import {forceImplementation, implementationsOf} from '../src/register';
import {describeOn, useBackend} from './harness/node';
import {normalNumbers} from './inputs';

const B = 2;
const H = 4;
const S = 96;
const D = 8;

afterEach(() => forceImplementation(null));

/** Runs `work` on q, k, v of B, H, S, D and disposes of them. */
function withInputs<T>(work: (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => T): T {
  const inputs = [1, 2, 3].map(seed => tf.randomNormal([B, H, S, D], 0, 1, 'float32', seed));
  const result = work(inputs[0], inputs[1], inputs[2]);
  tf.dispose(inputs);
  return result;
}

const explained = (options?: ExplainOptions) => withInputs((q, k, v) => explain(q, k, v, options));

describe('explain', () => {
  useBackend('cpu');

  it('names who serves the call and why the others do not', () => {
    const {backend, implementation, reasons} = explained();
    expect(backend).toBe('cpu');
    expect(reasons.map(({name}) => name)).toContain('composed');
    expect(reasons.map(({name}) => name)).not.toContain(implementation);
    expect(reasons.find(({name}) => name === 'composed')!.reason).toBe(
      `'${implementation}' serves the call and is preferred`,
    );
  });

  it('follows a forced implementation, with the reason', () => {
    forceImplementation('composed');
    const {implementation, reasons, bytes} = explained();
    expect(implementation).toBe('composed');
    expect(reasons).toContainEqual({name: 'loops', reason: `'composed' is forced`});
    forceImplementation('loops');
    expect(explained().implementation).toBe('loops');
    expect(explained().bytes.fused).toBeLessThan(bytes.fused);
  });

  it('counts FLOPs, bytes and memory', () => {
    forceImplementation('loops');
    const {flops, bytes, memory, intensity, tiles} = explained();
    const operands = 4 * 4 * (B * H * S * D);
    const scores = 4 * (B * H * S * S);
    expect(flops).toBe(4 * B * H * S * S * D);
    expect(bytes.unfused).toBe(operands + 4 * scores);
    const queriesAndOutput = operands / 2;
    const keysAndValues = (operands / 2) * Math.ceil(S / tiles.queries);
    expect(bytes.fused).toBe(queriesAndOutput + keysAndValues + 4 * B * H * S);
    expect(intensity).toEqual({fused: flops / bytes.fused, unfused: flops / bytes.unfused});
    expect(memory.unfused).toBe(2 * scores);
    expect(memory.fused).toBeGreaterThan(0);
  });

  it('counts what causality and a window leave', () => {
    const all = explained().flops;
    expect(explained({causal: true}).flops / all).toBeCloseTo((S * (S + 1)) / 2 / S ** 2, 10);
    expect(explained({window: [0, 0]}).flops / all).toBeCloseTo(1 / S, 10);
  });

  it('counts the tensors among the options and the passes over the scores that they cost unfused', () => {
    const bias = tf.zeros([S, S]);
    const mask = tf.ones([S, S], 'bool');
    const scores = 4 * (B * H * S * S);
    expect(explained({bias}).bytes.unfused - explained().bytes.unfused).toBe(4 * S * S + 2 * scores);
    expect(explained({mask}).bytes.unfused - explained().bytes.unfused).toBe(S * S + 2 * scores);
    tf.dispose([bias, mask]);
  });

  it('works out the bound for the machine asked for', () => {
    const fast = {name: 'all bandwidth', flops: 1, bandwidth: 1e18, bytesPerElement: 4, source: 'test'};
    const slow = {...fast, name: 'no bandwidth', flops: 1e18, bandwidth: 1};
    expect(explained({machine: fast})).toMatchObject({
      machine: 'all bandwidth',
      bound: {fused: 'compute', unfused: 'compute'},
    });
    expect(explained({machine: slow}).bound).toEqual({fused: 'memory', unfused: 'memory'});
    const {flops, bytes} = explained();
    expect(explained({machine: fast}).seconds).toEqual({fused: flops, unfused: flops});
    expect(explained({machine: slow}).seconds).toEqual(bytes);
    expect(explained({machine: 'h100'}).machine).toMatch('H100');
  });

  it('takes arrays, any rank, and no keys or queries at all', () => {
    expect(explain([[1, 2]], [[1, 2]], [[3, 4]]).flops).toBe(8);
    const none = tf.zeros([0, 2]);
    const one = tf.zeros([1, 2]);
    expect(explain(none, one, one).flops).toBe(0);
    expect(explain(one, none, none)).toMatchObject({flops: 0, implementation: 'composed'});
    expect(explain(one, none, none).reasons).toContainEqual({name: 'loops', reason: 'there is nothing to compute'});
    expect(explain(one, none, none).bytes.fused).toBeGreaterThan(0);
    tf.dispose([none, one]);
  });

  it('runs no kernel of its own, leaves no tensor', async () => {
    const [q, k, v] = [1, 2, 3].map(seed => tf.randomNormal([B, H, S, D], 0, 1, 'float32', seed));
    const before = tf.memory().numTensors;
    const {kernelNames, result} = await tf.profile(() => {
      explain(q, k, v, {causal: true});
      return tf.scalar(0);
    });
    expect(kernelNames).toEqual([]);
    expect(tf.memory().numTensors).toBe(before + 1);
    tf.dispose([q, k, v, result]);
  });

  it.each([
    [
      {machine: 'b200'},
      `Argument 'machine' passed to 'explain' must be one of a100, h100, laptop, cpu, or figures of your own, but got 'b200'.`,
    ],
    [
      {machine: {flops: 1e12, bandwidth: NaN, bytesPerElement: 4}},
      `Argument 'machine.bandwidth' passed to 'explain' must be a positive number, but got NaN.`,
    ],
    [null, `Argument 'options' passed to 'explain' must be an object of options, but got null.`],
    [{scale: NaN}, `Argument 'scale' passed to 'explain' must be a finite number, but got NaN.`],
    [{casual: true}, `the nearest is 'causal'`],
  ])('refuses %o', (options, message) => {
    expect(() => explained(options as never)).toThrow(message);
  });
});

describe.each(['cpu', 'wasm', 'tensorflow', 'webgpu'] as const)('who serves', backendName => {
  describeOn(backendName, 'the one that explain names', () => {
    it.each<[string, ExplainOptions]>([
      ['no options', {}],
      ['causal', {causal: true}],
      ['a window', {window: [3, 0]}],
      ['softcap and dropout', {softcap: 2, dropout: 0.5, seed: 1}],
    ])('%s', async (_, options) => {
      const implementations = implementationsOf(backendName);
      const spies = implementations.map(implementation => jest.spyOn(implementation, 'forward'));
      const [q, k, v] = [1, 2, 3].map(seed => tf.tensor(normalNumbers(B * H * S * D, seed), [B, H, S, D]));
      const {implementation} = explain(q, k, v, options);
      const output = flashAttention(q, k, v, options);
      await output.data();
      const served = implementations.filter((_, n) => spies[n].mock.calls.length > 0).map(({name}) => name);
      expect(served).toEqual([implementation]);
      spies.forEach(spy => spy.mockRestore());
      tf.dispose([q, k, v, output]);
    });
  });
});

describeOn('cpu', 'a call that the preferred implementation cannot serve', () => {
  it('goes to the next, says so once, and explain gives the reason', () => {
    const [preferred, next] = implementationsOf('cpu');
    const reason = 'its device is too small';
    const unsupported = jest.spyOn(preferred, 'unsupported').mockReturnValue(reason);
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    const q = tf.ones([3, 2]);
    const gradient = tf.grad((x: tf.Tensor) => flashAttention(x, q, q));
    tf.dispose([flashAttention(q, q, q), gradient(q)]);
    const {implementation, reasons} = explain(q, q, q);
    expect(warn.mock.calls).toEqual([[expect.stringContaining(`is served by ${next.name}; ${preferred.name} cannot serve it: ${reason}.`)]]); // prettier-ignore
    expect({implementation, first: reasons[0]}).toEqual({implementation: next.name, first: {name: preferred.name, reason}}); // prettier-ignore
    unsupported.mockRestore();
    warn.mockRestore();
    q.dispose();
  });
});
