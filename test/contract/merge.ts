/** mergeAttention: two disjoint sets of keys give what one call over their union gives, gradients too. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttentionWithLse, mergeAttention} from '../../src';
import type {AttentionWithLse} from '../../src';
import {attentionCase} from '../cases';
import type {AttentionCase, Selection} from '../cases';
import {makeInputs} from '../inputs';
import type {CaseInputs} from '../inputs';
import {messageOf, check} from './contract_test';
import type {ContractTest} from './contract_test';
import {checkAgainstReference, optionsOf, runChainIfAny} from './run_case';
import {runWithGradients} from './run';
import type {CaseTensors} from './run';

/** Keys are cut at the first number, then at the second, …; the parts are merged from left to right. */
const CUTS: [AttentionCase, number[]][] = [
  [attentionCase('merged: plain', {Sq: 9, Sk: 20}), [11]],
  [attentionCase('merged: three parts', {Sq: 9, Sk: 20}), [3, 12]],
  [attentionCase('merged: an empty part', {Sq: 9, Sk: 20}), [0]],
  [attentionCase('merged: sinks on the first part', {B: 2, Sq: 9, Sk: 20, options: {sinks: true}}), [11]],
  [attentionCase('merged: causal, explicit offsets', {Sq: 9, Sk: 20, options: {causal: true, queryOffset: 6}}), [11]],
  [attentionCase('merged: causal, rows that see nothing', {Sq: 9, Sk: 20, options: {causal: true, queryOffset: -4}}), [2]],
  [attentionCase('merged: window, alibi, grouped, BSHD', {
    B: 2, H: 4, Hkv: 2, Sq: 9, Sk: 20, Dv: 5, layout: 'BSHD', options: {window: [6, 2], alibiSlopes: 'perHead', queryOffset: 8},
  }), [11]],
  [attentionCase('merged: bias and mask', {
    Sq: 9, Sk: 20, options: {bias: {shape: [2, 9, 20], fill: 'normal'}, mask: {shape: [9, 20], fill: 'some rows none'}},
  }), [7]],
  [attentionCase('merged: rank 3', {rank: 3, B: 2, Sq: 9, Sk: 20, options: {softcap: 2}}), [11]],
  [attentionCase('merged: rank 2', {rank: 2, Sq: 9, Sk: 20}), [11]],
]; // prettier-ignore

function merged([c, cuts]: [AttentionCase, number[]]): ContractTest {
  return {
    name: c.name,
    run: async () => {
      const inputs = makeInputs(c);
      const run = await runWithGradients(c, inputs, x => attendInParts(c, x, cuts));
      checkAgainstReference(c, inputs, run, await runChainIfAny(c, inputs));
    },
  };
}

function attendInParts(c: AttentionCase, x: CaseTensors, cuts: number[]): AttentionWithLse {
  const edges = [0, ...cuts, c.Sk];
  const parts = cuts.concat(c.Sk).map((to, n) => {
    const from = edges[n];
    const part: CaseTensors = {
      ...x,
      k: someKeys(x.k, keyAxis(c), from, to),
      v: someKeys(x.v, keyAxis(c), from, to),
      ...(x.bias && {bias: someKeys(x.bias, -1, from, to)}),
      ...(x.mask && {mask: someKeys(x.mask, -1, from, to)}),
    };
    const {queryOffset} = c.options;
    const offset = typeof queryOffset === 'number' ? {queryOffset: queryOffset - from} : {};
    const {sinks, ...options} = optionsOf(c, part);
    return flashAttentionWithLse(part.q, part.k, part.v, {...options, ...offset, ...(n === 0 && sinks && {sinks})});
  });
  return parts.reduce((a, b) => mergeAttention(a, b, {layout: c.layout}));
}

function keyAxis({rank, layout}: AttentionCase): number {
  return rank === 4 && layout === 'BSHD' ? -3 : -2;
}

function someKeys(x: tf.Tensor, axis: number, from: number, to: number): tf.Tensor {
  const begin = x.shape.map(() => 0);
  const size = [...x.shape];
  const at = x.rank + axis;
  begin[at] = from;
  size[at] = to - from;
  return tf.slice(x, begin, size);
}

/** A part whose cache is poisoned beyond keyLengths, or that nothing sees, must not disturb the other. */
const emptyPart: ContractTest = {
  name: 'merged: a part that sees nothing changes nothing',
  run: async () => {
    const c = attentionCase('merged with nothing', {B: 2, Sq: 9, Sk: 20});
    const inputs: CaseInputs = makeInputs(c);
    const run = await runWithGradients(c, inputs, x => {
      const seen = flashAttentionWithLse(x.q, x.k, x.v);
      const unseen = flashAttentionWithLse(x.q, x.k, x.v, {keyLengths: tf.tensor1d([0, 0], 'int32')});
      return mergeAttention(unseen, seen);
    });
    checkAgainstReference(c, inputs, run, await runChainIfAny(c, inputs));
  },
};

const complaints: ContractTest = {
  name: 'mergeAttention: errors',
  run: async () => {
    const zeros = (...shape: number[]): tf.Tensor => tf.zeros(shape);
    const before = tf.memory().numTensors;
    const given = [zeros(1, 2, 3, 4), zeros(1, 2, 3), zeros(1, 2, 5, 4), zeros(1, 2, 5)];
    const [output, lse, longer, longerLse] = given;
    const part = {output, lse};
    const wrong: [string[], () => unknown][] = [
      [['a.lse', 'shape [1,2,3]'], () => mergeAttention({output, lse: longerLse}, part)],
      [['b.output', '[1,2,3,4]', '[1,2,5,4]'], () => mergeAttention(part, {output: longer, lse: longerLse})],
      [['a.lse', '[1,3,2]'], () => mergeAttention(part, part, {layout: 'BSHD'})],
      [['layout', 'BHSD', 'BSHD', 'HBSD'], () => mergeAttention(part, part, {layout: 'HBSD' as 'BSHD'})],
      [['options', 'layuot', 'layout'], () => mergeAttention(part, part, {layuot: 'BSHD'} as object)],
      [['b', '{output, lse}'], () => mergeAttention(part, undefined as unknown as AttentionWithLse)],
    ];
    for (const [fragments, work] of wrong) {
      const message = messageOf(work);
      for (const fragment of [
        `Argument '${fragments[0]}' passed to 'mergeAttention' must `,
        ', but got ',
        ...fragments,
      ]) {
        check(message.includes(fragment), `'${message}' does not contain '${fragment}'`);
      }
    }
    check(tf.memory().numTensors === before + given.length, 'an error leaves tensors behind');
    tf.dispose(given);
  },
};

const SELECTED: Record<Selection, RegExp> = {
  all: /./,
  core: /sinks|sees? nothing/,
  sample: /sinks/,
  glance: /sinks/,
};

export function mergeTests(selection: Selection): ContractTest[] {
  const cuts = CUTS.filter(([{name}]) => SELECTED[selection].test(name));
  return [...cuts.map(merged), emptyPart, complaints];
}
