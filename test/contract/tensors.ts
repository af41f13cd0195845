/** Nothing leaks: tensors grow by exactly the outputs, in every way of calling, and tfjs's own instruments see the kernels. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention, flashAttentionWithLse, mergeAttention, onlineSoftmax} from '../../src';
import {attentionCase, caseNamed} from '../cases';
import {expectClose, expectSameBits} from '../closeness';
import {makeInputs} from '../inputs';
import {referenceAttention} from '../reference';
import {check, messageOf} from './contract_test';
import type {ContractTest} from './contract_test';
import {optionsOf, runFlash, runForward} from './run_case';
import {toTensors} from './run';

const c = caseNamed('everything at once');

/** Tensors that `work` leaves, which are then disposed. */
function growth(work: () => tf.TensorContainer): number {
  const before = tf.memory().numTensors;
  const result = work();
  const grown = tf.memory().numTensors - before;
  tf.dispose(result);
  return grown;
}

function expectGrowth(what: string, expected: number, work: () => tf.TensorContainer): void {
  const grown = growth(work);
  check(grown === expected, `${what} leaves ${grown} tensors, expected ${expected}`);
}

const exactlyTheOutputs: ContractTest = {
  name: 'tensors grow by exactly the outputs',
  run: async () => {
    const x = toTensors(makeInputs(c));
    const options = optionsOf(c, x);
    expectGrowth('flashAttention', 1, () => flashAttention(x.q, x.k, x.v, options));
    expectGrowth('flashAttention without options', 1, () => flashAttention(x.q, x.q, x.q, {layout: 'BSHD'}));
    expectGrowth('flashAttentionWithLse', 2, () => ({...flashAttentionWithLse(x.q, x.k, x.v, options)}));
    const part = flashAttentionWithLse(x.q, x.k, x.v, options);
    expectGrowth('mergeAttention', 2, () => ({...mergeAttention(part, part, {layout: 'BSHD'})}));
    expectGrowth('onlineSoftmax', 1, () => onlineSoftmax(x.q, 1));
    expectGrowth('a tidy', 0, () => {
      tf.tidy(() => void flashAttention(x.q, x.k, x.v, options));
      return [];
    });
    expectGrowth('nested arrays', 1, () => flashAttention([[1, 2]], [[3, 4]], [[5]], {bias: [[0.5]], keyLengths: [1]}));
    tf.dispose([x, {...part}]);
  },
};

const exactlyTheGradients: ContractTest = {
  name: 'tensors grow by exactly the gradients',
  run: async () => {
    const x = toTensors(makeInputs(c));
    const loss = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, bias: tf.Tensor, sinks: tf.Tensor): tf.Tensor =>
      tf.sum(flashAttention(q, k, v, optionsOf(c, {...x, bias, sinks})));
    const five = [x.q, x.k, x.v, x.bias, x.sinks];
    const grads = tf.grads(loss);
    expectGrowth('tf.grads', 5, () => grads(five));
    expectGrowth('tf.valueAndGrads', 6, () => ({
      ...tf.valueAndGrads(loss)(five),
    }));
    for (const name of ['q', 'k', 'v', 'bias', 'sinks'] as const) {
      const one = tf.grad((y: tf.Tensor) => {
        const z = {...x, [name]: y};
        return tf.sum(flashAttention(z.q, z.k, z.v, optionsOf(c, z)));
      });
      expectGrowth(`tf.grad of ${name}`, 1, () => one(x[name]));
    }
    tf.dispose(x);
  },
};

const nothingOnErrors: ContractTest = {
  name: 'no tensor is left by a call that throws',
  run: async () => {
    const x = toTensors(makeInputs(c));
    const wrong: [string, () => unknown][] = [
      ['shape of v', () => flashAttention(x.q, x.k, x.q, {layout: 'BSHD'})],
      ['nested arrays', () => flashAttention([[1, 2]], [[1, 2]], [[1], [2]])],
      ['mask given as an array', () => flashAttention([[1, 2]], [[1, 2]], [[1]], {mask: [[true, false]]})],
      ['dtype of keyLengths', () => flashAttentionWithLse(x.q, x.k, x.v, {layout: 'BSHD', keyLengths: x.sinks})],
      [
        'inside tf.grads',
        () => tf.grads((q: tf.Tensor) => tf.sum(flashAttention(q, x.k, x.q, {layout: 'BSHD'})))([x.q]),
      ],
    ];
    for (const [what, work] of wrong) {
      expectGrowth(what, 0, () => {
        messageOf(work);
        return [];
      });
    }
    tf.dispose(x);
  },
};

/** tfjs's debug mode refuses to upload infinities: this case has them in lse alone. */
const DEBUGGED = attentionCase('debug mode', {
  B: 2, H: 4, Hkv: 2, layout: 'BSHD',
  options: {
    causal: true, queryOffset: [-2, 1], keyLengths: [0, 6], mask: {shape: [5, 7], fill: 'random'}, softcap: 2, dropout: 0.2, seed: 1,
    bias: {shape: [4, 1, 7], fill: 'normal'}, alibiSlopes: 'perHead',
  },
}); // prettier-ignore

const inDebugMode: ContractTest = {
  name: 'debug mode',
  run: () =>
    quietly(async () => {
      tf.env().set('DEBUG', true);
      tf.env().set('CHECK_COMPUTATION_FOR_ERRORS', true);
      try {
        const inputs = makeInputs(DEBUGGED);
        const run = await runFlash(DEBUGGED, inputs);
        expectClose('debug mode: output', run.output, referenceAttention(DEBUGGED, inputs).output, 1e-4);
      } finally {
        tf.env().set('DEBUG', false);
        tf.env().set('CHECK_COMPUTATION_FOR_ERRORS', false);
      }
    }),
};

const profileSeesKernels: ContractTest = {
  name: 'tf.profile sees the kernels',
  run: async () => {
    const profiled = caseNamed('sinks × bias');
    const x = toTensors(makeInputs(profiled));
    const loss = (q: tf.Tensor): tf.Tensor => tf.sum(flashAttention(q, x.k, x.v, optionsOf(profiled, x)));
    const profile = await withoutChecks(() => tf.profile(() => tf.grad(loss)(x.q)));
    const count = (name: string): number => profile.kernels.filter(k => k.name === name).length;
    check(profile.newTensors === 1, `profile counts ${profile.newTensors} new tensors, expected 1`);
    check(count('FlashAttention') === 1, `profile sees ${count('FlashAttention')} kernels FlashAttention, expected 1`);
    // Only the gradient that was asked for is computed: the dense bias is a constant here.
    check(
      count('FlashAttentionGrad') === 1,
      `profile sees ${count('FlashAttentionGrad')} FlashAttentionGrad, expected 1`,
    );
    tf.dispose([x, profile.result]);
  },
};

const timeSeesKernels: ContractTest = {
  name: 'tf.time',
  run: async () => {
    const x = toTensors(makeInputs(c));
    const results: tf.Tensor[] = [];
    const info = await tf.time(() => void results.push(flashAttention(x.q, x.k, x.v, optionsOf(c, x))));
    check(info.wallMs > 0, `tf.time measured ${info.wallMs} ms`);
    tf.dispose([x, results]);
  },
};

const asArrays: ContractTest = {
  name: 'nested and typed arrays are tensors too',
  run: async () => {
    const d = caseNamed('rank 2, every small option');
    const inputs = makeInputs(d);
    const x = toTensors(inputs);
    const nested = await Promise.all([x.q.array(), x.k.array(), x.v.array(), x.sinks.array(), x.alibiSlopes.array()]);
    const [q, k, v, sinks, alibiSlopes] = nested as number[][][];
    const options = {...d.options, queryOffset: undefined, bias: undefined, mask: undefined, segmentIds: undefined};
    const lists = {
      sinks: sinks as unknown as number[],
      alibiSlopes: alibiSlopes as unknown as number[],
      keyLengths: [5],
    };
    const fromArrays = flashAttention(q, k, v, {...options, ...lists});
    const fromTensors = flashAttention(x.q, x.k, x.v, optionsOf(d, x));
    expectSameBits('from arrays', await fromArrays.data(), await fromTensors.data());
    tf.dispose([x, fromArrays, fromTensors]);
  },
};

/** tfjs moves a tensor's values to the backend that first asks for them. */
const fromAnotherBackend = (backend: string): ContractTest => ({
  name: 'tensors that were made on another backend',
  run: async () => {
    const inputs = makeInputs(c);
    const expected = await runForward(c, inputs);
    await tf.setBackend('cpu');
    const x = toTensors(inputs);
    await tf.setBackend(backend);
    const output = flashAttention(x.q, x.k, x.v, optionsOf(c, x));
    expectSameBits('output', await output.data(), expected);
    tf.dispose([x, output]);
  },
});

/** tf.cast to a wider type only relabels: on some backends its result shares what bools or integers are stored as. */
const madeByCast: ContractTest = {
  name: 'tensors that tf.cast made are read by their own type',
  run: async () => {
    const of = (n: number, value: (i: number) => number): Int32Array =>
      Int32Array.from({length: n}, (_, i) => value(i));
    const small = of(48, i => ((i * 7) % 5) - 2);
    const isOdd = of(6, i => i % 2);
    const whole = tf.tensor(small, [1, 2, 6, 4], 'int32');
    const odd = tf.tensor(Uint8Array.from(isOdd), [1, 6], 'bool');
    const [q, segments, bias] = [tf.cast(whole, 'float32'), tf.cast(odd, 'int32'), tf.cast(odd, 'float32')];
    const plain = {
      q: tf.tensor(Float32Array.from(small), [1, 2, 6, 4]),
      segments: tf.tensor(isOdd, [1, 6], 'int32'),
      bias: tf.tensor(Float32Array.from(isOdd), [1, 6]),
    };
    const run = (x: typeof plain): tf.Tensor[] => {
      const call = (y: tf.Tensor): tf.Tensor =>
        flashAttention(y, y, y, {segmentIds: {query: x.segments, key: x.segments}, bias: x.bias});
      return [call(x.q), tf.grad((y: tf.Tensor) => tf.sum(call(y)))(x.q)];
    };
    const [actual, expected] = [run({q, segments, bias}), run(plain)];
    for (const [n, what] of ['output', 'gradient'].entries()) {
      expectSameBits(what, await actual[n].data(), await expected[n].data());
    }
    tf.dispose([whole, odd, q, segments, bias, {...plain}, actual, expected]);
  },
};

/** A profile reads every result, later, to look for infinities; it is the kernels that are asked for here. */
async function withoutChecks<T>(work: () => Promise<T>): Promise<T> {
  const before = tf.env().getBool('CHECK_COMPUTATION_FOR_ERRORS');
  tf.env().set('CHECK_COMPUTATION_FOR_ERRORS', false);
  try {
    return await work();
  } finally {
    tf.env().set('CHECK_COMPUTATION_FOR_ERRORS', before);
  }
}

/** Debug mode writes a line per kernel. */
async function quietly(work: () => Promise<void>): Promise<void> {
  const {log, warn} = console;
  console.log = console.warn = () => undefined;
  try {
    await work();
    // The checks of numbers come after the kernels.
    await new Promise(resolve => setTimeout(resolve, 20));
  } finally {
    Object.assign(console, {log, warn});
  }
}

export function tensorTests(backend: string): ContractTest[] {
  return [
    exactlyTheOutputs,
    exactlyTheGradients,
    nothingOnErrors,
    // tfjs 4.22's debug mode reads every result later, which rejects on webgpu for whatever is disposed by then: even
    // tf.tidy(() => tf.sum(tf.exp(x))) fails there.
    ...(backend === 'webgpu' ? [] : [inDebugMode]),
    profileSeesKernels,
    timeSeesKernels,
    asArrays,
    madeByCast,
    ...(backend === 'cpu' ? [] : [fromAnotherBackend(backend)]),
  ];
}
