/** Gradients in the ways that tfjs offers them: of few inputs, of one tensor in several roles, by variables, twice. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention, flashAttentionWithLse} from '../../src';
import {attentionCase, caseNamed} from '../cases';
import type {AttentionCase, Selection} from '../cases';
import {expectClose, expectSameBits, magnitude} from '../closeness';
import {makeCotangents, makeInputs, normalNumbers} from '../inputs';
import type {CaseInputs} from '../inputs';
import {referenceGradients} from '../reference';
import {check} from './contract_test';
import type {ContractTest} from './contract_test';
import {optionsOf, runFlash} from './run_case';
import {toTensor, toTensors} from './run';
import type {CaseTensors, GradientName} from './run';

type TensorFunction = (...args: tf.Tensor[]) => tf.Tensor;
const WRT = ['q', 'k', 'v', 'bias', 'sinks'] as const;

/** Σ output·dOutput: what runFlash differentiates, without lse. */
function lossOf(c: AttentionCase, x: CaseTensors, dOutput: tf.Tensor): tf.Tensor {
  return tf.sum(tf.mul(flashAttention(x.q, x.k, x.v, optionsOf(c, x)), dOutput));
}

const outputAlone: ContractTest = {
  name: 'gradients of flashAttention alone',
  run: async () => {
    const c = caseNamed('sinks × bias');
    const inputs = makeInputs(c);
    const x = toTensors(inputs);
    const dOutput = toTensor(makeCotangents(c).dOutput);
    const loss: TensorFunction = (q, k, v, bias, sinks) => lossOf(c, {...x, q, k, v, bias, sinks}, dOutput);
    const together = tf.grads(loss)(WRT.map(name => x[name]));
    const noLse = new Float32Array(c.B * c.H * c.Sq);
    const expected = referenceGradients(c, inputs, makeCotangents(c).dOutput.values, noLse);
    for (const [n, name] of WRT.entries()) {
      const values = await together[n].data();
      expectClose(`gradient of ${name}`, values, expected[name]!, 4e-5 * magnitude(expected[name]!), x[name].shape);
      const alone = tf.grad(y => lossOf(c, {...x, [name]: y}, dOutput))(x[name]);
      expectSameBits(`gradient of ${name}, asked for alone`, await alone.data(), values, x[name].shape);
      alone.dispose();
    }
    tf.dispose([x, dOutput, together]);
  },
};

const lseAlone: ContractTest = {
  name: 'gradients of lse alone',
  run: async () => {
    const c = caseNamed('sinks × bias');
    const inputs = makeInputs(c);
    const x = toTensors(inputs);
    const {dOutput, dLse} = makeCotangents(c);
    const weights = toTensor(dLse);
    const loss: TensorFunction = (q, k, bias, sinks) => {
      const {output, lse} = flashAttentionWithLse(q, k, x.v, optionsOf(c, {...x, bias, sinks}));
      output.dispose();
      return tf.sum(tf.mul(lse, weights));
    };
    const names = ['q', 'k', 'bias', 'sinks'] as const;
    const gradients = tf.grads(loss)(names.map(name => x[name]));
    const expected = referenceGradients(c, inputs, new Float32Array(dOutput.values.length), dLse.values);
    for (const [n, name] of names.entries()) {
      const values = await gradients[n].data();
      expectClose(`gradient of ${name}`, values, expected[name]!, 4e-5 * magnitude(expected[name]!), x[name].shape);
    }
    tf.dispose([x, weights, gradients]);
  },
};

const oneTensorInEveryRole: ContractTest = {
  name: 'one tensor as q, k and v: the gradients add up',
  run: async () => {
    const c = attentionCase('self', {Sq: 17, Sk: 17, options: {causal: true}});
    const {q} = makeInputs(c);
    const inputs: CaseInputs = {q, k: q, v: q};
    const {dOutput, dLse} = makeCotangents(c);
    const [x, weights] = [toTensor(q), toTensor(dOutput)];
    const gradient = tf.grad((y: tf.Tensor) => tf.sum(tf.mul(flashAttention(y, y, y, {causal: true}), weights)))(x);
    const parts = referenceGradients(c, inputs, dOutput.values, new Float32Array(dLse.values.length));
    const expected = parts.q.map((g, n) => g + parts.k[n] + parts.v[n]);
    expectClose('gradient', await gradient.data(), expected, 6e-5 * magnitude(expected), q.shape);
    tf.dispose([x, weights, gradient]);
  },
};

const variablesAndOptimizer: ContractTest = {
  name: 'tf.variableGrads and an optimizer',
  run: async () => {
    const c = caseNamed('sinks × bias');
    const inputs = makeInputs(c);
    const x = toTensors(inputs);
    const target = tf.tensor(normalNumbers(c.B * c.H * c.Sq * c.Dv, 9, 0.1), [c.B, c.H, c.Sq, c.Dv]);
    const variables = Object.fromEntries(WRT.map(name => [name, tf.variable(x[name], true, `attention_${name}`)]));
    const loss = (): tf.Scalar => {
      const y = {...x, ...variables};
      return tf.mean(tf.squaredDifference(flashAttention(y.q, y.k, y.v, optionsOf(c, y)), target));
    };
    const {value, grads} = tf.variableGrads(loss);
    check(Object.keys(grads).length === WRT.length, `variableGrads gives ${Object.keys(grads)}`);
    for (const [name, gradient] of Object.entries(grads)) {
      const size = Math.max(...(await gradient.data()).map(Math.abs));
      check(size > 0 && size < Infinity, `the gradient of ${name} is ${size} at most`);
    }
    const [first] = await value.data();
    tf.dispose([value, grads]);

    const optimizer = tf.train.sgd(2);
    let before = first;
    for (let step = 0; step < 5; step++) {
      const cost = optimizer.minimize(loss, true)!;
      const [now] = await cost.data();
      check(step === 0 || now < before, `step ${step}: the loss is ${now}, not below ${before}`);
      before = now;
      cost.dispose();
    }
    optimizer.dispose();
    tf.dispose([x, target, variables]);
  },
};

/**
 * Second order: the gradient of ⟨∂loss/∂q, direction⟩ by every input is, as second derivatives are symmetric, the change of
 * the whole first gradient along that direction, which central differences of the float64 reference give.
 */
function secondOrder(c: AttentionCase, by: GradientName): ContractTest {
  return {
    name: `gradient of the gradient of ${by}: ${c.name}`,
    run: async () => {
      const inputs = makeInputs(c);
      const {dOutput, dLse} = makeCotangents(c);
      const direction = normalNumbers(inputs[by]!.values.length, c.seed + 77);
      const expected = changeOfGradients(c, inputs, by, direction);

      const x = toTensors(inputs);
      const [weights, lseWeights, along] = [toTensor(dOutput), toTensor(dLse), tf.tensor(direction, inputs[by]!.shape)];
      // The output is linear in v, so that v's gradient has no v in it.
      const names = WRT.filter(name => inputs[name] && !(by === 'v' && name === 'v'));
      const inner = (all: CaseTensors): tf.Tensor => {
        const gradient = tf.grad(y => {
          const z = {...all, [by]: y};
          const {output, lse} = flashAttentionWithLse(z.q, z.k, z.v, optionsOf(c, z));
          return tf.add(tf.sum(tf.mul(output, weights)), tf.sum(tf.mul(lse, lseWeights)));
        })(all[by]);
        return tf.sum(tf.mul(gradient, along));
      };
      const outer: TensorFunction = (...args) =>
        inner({...x, ...Object.fromEntries(names.map((name, n) => [name, args[n]]))});
      const gradients = tf.grads(outer)(names.map(name => x[name]));
      for (const [n, name] of names.entries()) {
        const wanted = expected[name]!;
        expectClose(
          `second gradient by ${by} and ${name}`,
          await gradients[n].data(),
          wanted,
          2e-4 * magnitude(wanted),
          x[name].shape,
        );
      }
      tf.dispose([x, weights, lseWeights, along, gradients]);
    },
  };
}

function changeOfGradients(
  c: AttentionCase,
  inputs: CaseInputs,
  by: GradientName,
  direction: Float32Array,
): Partial<Record<GradientName, Float64Array>> {
  const {dOutput, dLse} = makeCotangents(c);
  const step = 1e-5;
  const at = (sign: number) => {
    const moved = Float64Array.from(inputs[by]!.values, (value, n) => value + sign * step * direction[n]);
    return referenceGradients(c, {...inputs, [by]: {...inputs[by]!, values: moved}}, dOutput.values, dLse.values);
  };
  const [plus, minus] = [at(1), at(-1)];
  const names = Object.keys(plus) as GradientName[];
  return Object.fromEntries(names.map(name => [name, plus[name]!.map((g, n) => (g - minus[name]![n]) / (2 * step))]));
}

const TWICE: AttentionCase[] = [
  attentionCase('plain', {}),
  attentionCase('causal, grouped, softcap, bias, sinks', {
    H: 4, Hkv: 2, Dv: 3,
    options: {causal: true, softcap: 2, bias: {shape: [4, 5, 7], fill: 'normal'}, sinks: true},
  }),
  attentionCase('dropout, keyLengths', {options: {dropout: 0.3, seed: 3, keyLengths: [5]}}),
]; // prettier-ignore

const sameAsFirstOrder: ContractTest = {
  name: 'lse’s gradient adds to the output’s',
  run: async () => {
    const c = caseNamed('sinks');
    const inputs = makeInputs(c);
    const {gradients} = await runFlash(c, inputs);
    const {dOutput, dLse} = makeCotangents(c);
    const none = (n: number): Float32Array => new Float32Array(n);
    const ofOutput = referenceGradients(c, inputs, dOutput.values, none(dLse.values.length));
    const ofLse = referenceGradients(c, inputs, none(dOutput.values.length), dLse.values);
    const expected = ofOutput.sinks!.map((g, n) => g + ofLse.sinks![n]);
    check(Math.max(...ofLse.sinks!.map(Math.abs)) > 1e-2, 'lse moves no sink here, so that the test says nothing');
    expectClose('gradient of sinks', gradients.sinks!, expected, 4e-5 * magnitude(expected));
  },
};

export function differentiationTests(selection: Selection): ContractTest[] {
  return [
    outputAlone,
    lseAlone,
    oneTensorInEveryRole,
    variablesAndOptimizer,
    sameAsFirstOrder,
    ...(selection === 'glance' ? [] : [secondOrder(TWICE[1], 'k')]),
    ...(selection !== 'all' ? [] : [
      secondOrder(TWICE[0], 'q'),
      secondOrder(TWICE[0], 'v'),
      secondOrder(TWICE[1], 'bias'),
      secondOrder(TWICE[1], 'sinks'),
      secondOrder(TWICE[2], 'q'),
    ]),
  ]; // prettier-ignore
}
