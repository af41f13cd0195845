/** Every complaint names the argument, the op, what was expected and what came, before any work is done. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention, flashAttentionWithLse} from '../../src';
import type {FlashAttentionOptions} from '../../src';
import {check, messageOf} from './contract_test';
import type {ContractTest} from './contract_test';

type Tensors = Record<'q' | 'k' | 'v', tf.Tensor>;
type Options = Record<string, unknown>;

/** B2 H4 Hkv2 Sq5 Sk7 D8 Dv6. */
const make = (): Tensors => ({q: tf.zeros([2, 4, 5, 8]), k: tf.zeros([2, 2, 7, 8]), v: tf.zeros([2, 2, 7, 6])});
const int = (...shape: number[]): tf.Tensor => tf.zeros(shape, 'int32');
const float = (...shape: number[]): tf.Tensor => tf.zeros(shape);
const bool = (...shape: number[]): tf.Tensor => tf.zeros(shape, 'bool');

/** What is changed in the call, the argument that is named, what else the message holds. */
const COMPLAINTS: [string, {tensors?: () => Partial<Tensors>; options?: () => Options}, string, string[]][] = [
  ['q of rank 1', {tensors: () => ({q: float(8)})}, 'q', ['rank 2, 3 or 4', 'shape [8]']],
  ['q of rank 5', {tensors: () => ({q: float(1, 2, 4, 5, 8)})}, 'q', ['rank 2, 3 or 4', 'shape [1,2,4,5,8]']],
  ['q of int32', {tensors: () => ({q: int(2, 4, 5, 8)})}, 'q', ['float32', 'int32']],
  ['k of bool', {tensors: () => ({k: bool(2, 2, 7, 8)})}, 'k', ['float32', 'bool']],
  ['v of int32', {tensors: () => ({v: int(2, 2, 7, 6)})}, 'v', ['float32', 'int32']],
  ['k of another rank', {tensors: () => ({k: float(2, 7, 8)})}, 'k', ['same rank as q (4)', 'shape [2,7,8]']],
  ['v of another rank', {tensors: () => ({v: float(7, 6)})}, 'v', ['same rank as q (4)', 'shape [7,6]']],
  ['k of another width', {tensors: () => ({k: float(2, 2, 7, 9)})}, 'k', ['same last dimension as q (8)', 'shape [2,2,7,9]']],
  ['no width', {tensors: () => ({q: float(2, 4, 5, 0), k: float(2, 2, 7, 0)})}, 'q', ['at least 1', 'shape [2,4,5,0]']],
  ['no width of v', {tensors: () => ({v: float(2, 2, 7, 0)})}, 'v', ['at least 1', 'shape [2,2,7,0]']],
  ['k of another batch', {tensors: () => ({k: float(3, 2, 7, 8)})}, 'k', ['batch', '(2)', 'shape [3,2,7,8]']],
  ['v of another batch', {tensors: () => ({v: float(1, 2, 7, 6)})}, 'v', ['batch', '(2)', 'shape [1,2,7,6]']],
  ['heads that do not divide', {tensors: () => ({k: float(2, 3, 7, 8), v: float(2, 3, 7, 6)})}, 'k', ['divides', '(4)', '[2,3,7,8]']],
  ['more key heads than heads', {tensors: () => ({k: float(2, 8, 7, 8), v: float(2, 8, 7, 6)})}, 'k', ['divides', '[2,8,7,8]']],
  ['no heads', {tensors: () => ({q: float(2, 0, 5, 8)})}, 'q', ['at least one head', '[2,0,5,8]']],
  ['v of other heads', {tensors: () => ({v: float(2, 4, 7, 6)})}, 'v', ['heads as k (2)', 'shape [2,4,7,6]']],
  ['v of other keys', {tensors: () => ({v: float(2, 2, 8, 6)})}, 'v', ['keys as k (7)', 'shape [2,2,8,6]']],
  ['k is a string', {tensors: () => ({k: 'keys' as unknown as tf.Tensor})}, 'k', ['float32', 'keys']],
  ['q is missing', {tensors: () => ({q: undefined})}, 'q', ['float32', 'undefined']],
  ['q of strings', {tensors: () => ({q: [['a']] as unknown as tf.Tensor})}, 'q', ['array of numbers', "'a'"]],
  ['k an uneven array', {tensors: () => ({k: [[1, 2], [3]] as unknown as tf.Tensor})}, 'k', ['regular array', '[1,2] and [3]']],
  ['v of float64', {tensors: () => ({v: new Float64Array(3) as unknown as tf.Tensor})}, 'v', ['float32', 'Float64Array']],
  ['layout', {options: () => ({layout: 'BHDS'})}, 'layout', ["'BHSD' or 'BSHD'", "'BHDS'"]],
  ['scale NaN', {options: () => ({scale: NaN})}, 'scale', ['finite number', 'NaN']],
  ['scale ∞', {options: () => ({scale: Infinity})}, 'scale', ['finite number', 'Infinity']],
  ['scale beyond float32', {options: () => ({scale: 1e39})}, 'scale', ['finite number', '1e+39']],
  ['scale a string', {options: () => ({scale: '1'})}, 'scale', ['finite number', "'1'"]],
  ['causal a number', {options: () => ({causal: 1})}, 'causal', ['boolean', '1']],
  ['queryOffset 1.5', {options: () => ({queryOffset: 1.5})}, 'queryOffset', ['integer', '1.5']],
  ['queryOffset too large', {options: () => ({queryOffset: 2 ** 31})}, 'queryOffset', ['2^30', '2147483648']],
  ['queryOffset of another batch', {options: () => ({queryOffset: int(3)})}, 'queryOffset', ['[2]', 'shape [3]']],
  ['queryOffset of float32', {options: () => ({queryOffset: float(2)})}, 'queryOffset', ['int32', 'float32']],
  ['window left < −1', {options: () => ({window: [-2, 3]})}, 'window', ['at least −1', '[-2,3]']],
  ['window right < −1', {options: () => ({window: [2, -3]})}, 'window', ['at least −1', '[2,-3]']],
  ['window of fractions', {options: () => ({window: [0.5, 1]})}, 'window', ['integers', '[0.5,1]']],
  ['window of three', {options: () => ({window: [1, 2, 3]})}, 'window', ['two integers', '[1,2,3]']],
  ['window a number', {options: () => ({window: 4})}, 'window', ['two integers', '4']],
  ['softcap 0', {options: () => ({softcap: 0})}, 'softcap', ['greater than 0', '0']],
  ['softcap −1', {options: () => ({softcap: -1})}, 'softcap', ['greater than 0', '-1']],
  ['softcap NaN', {options: () => ({softcap: NaN})}, 'softcap', ['greater than 0', 'NaN']],
  ['softcap that float32 holds as 0', {options: () => ({softcap: 1e-50})}, 'softcap', ['greater than 0', '1e-50']],
  ['softcap beyond float32', {options: () => ({softcap: 1e39})}, 'softcap', ['finite', '1e+39']],
  ['bias that does not broadcast', {options: () => ({bias: float(4, 5, 6)})}, 'bias', ["scores' shape [2,4,5,7]", 'shape [4,5,6]']],
  ['bias of too high a rank', {options: () => ({bias: float(1, 2, 4, 5, 7)})}, 'bias', ['[2,4,5,7]', 'shape [1,2,4,5,7]']],
  ['bias of int32', {options: () => ({bias: int(7)})}, 'bias', ['float32', 'int32']],
  ['mask that does not broadcast', {options: () => ({mask: bool(2, 1, 5, 3)})}, 'mask', ["scores' shape [2,4,5,7]", 'shape [2,1,5,3]']],
  ['mask an uneven array', {options: () => ({mask: [[true, false], [true]]})}, 'mask', ['bool', '[true,false] and [true]']],
  ['mask of float32', {options: () => ({mask: float(7)})}, 'mask', ['bool', 'float32']],
  ['alibiSlopes per key head', {options: () => ({alibiSlopes: float(2)})}, 'alibiSlopes', ['[4] or [2,4]', 'shape [2]']],
  ['alibiSlopes of int32', {options: () => ({alibiSlopes: int(4)})}, 'alibiSlopes', ['float32', 'int32']],
  ['keyLengths of another batch', {options: () => ({keyLengths: int(1)})}, 'keyLengths', ['[2]', 'shape [1]']],
  ['keyLengths of float32', {options: () => ({keyLengths: float(2)})}, 'keyLengths', ['int32', 'float32']],
  ['segmentIds without key', {options: () => ({segmentIds: {query: int(2, 5)}})}, 'segmentIds', ['query', 'key']],
  ['segmentIds a number', {options: () => ({segmentIds: 3})}, 'segmentIds', ['{query, key}', '3']],
  ['segmentIds.query of keys', {options: () => ({segmentIds: {query: int(2, 7), key: int(2, 7)}})}, 'segmentIds.query', ['[2,5]', 'shape [2,7]']],
  ['segmentIds.key of queries', {options: () => ({segmentIds: {query: int(2, 5), key: int(2, 5)}})}, 'segmentIds.key', ['[2,7]', 'shape [2,5]']],
  ['segmentIds.key of float32', {options: () => ({segmentIds: {query: int(2, 5), key: float(2, 7)}})}, 'segmentIds.key', ['int32', 'float32']],
  ['sinks per key head', {options: () => ({sinks: float(2)})}, 'sinks', ['[4]', 'shape [2]']],
  ['sinks of int32', {options: () => ({sinks: int(4)})}, 'sinks', ['float32', 'int32']],
  ['dropout 1', {options: () => ({dropout: 1})}, 'dropout', ['[0, 1)', '1']],
  ['dropout −0.1', {options: () => ({dropout: -0.1})}, 'dropout', ['[0, 1)', '-0.1']],
  ['dropout NaN', {options: () => ({dropout: NaN})}, 'dropout', ['[0, 1)', 'NaN']],
  ['seed −1', {options: () => ({seed: -1})}, 'seed', ['integer in [0, 2^32)', '-1']],
  ['seed 2^32', {options: () => ({seed: 2 ** 32})}, 'seed', ['integer in [0, 2^32)', '4294967296']],
  ['seed 0.5', {options: () => ({seed: 0.5})}, 'seed', ['integer in [0, 2^32)', '0.5']],
  ['precision', {options: () => ({precision: 'bfloat16'})}, 'precision', ["'float16x2'", "'bfloat16'"]],
  ['an unknown option', {options: () => ({casual: true})}, 'options', ["'casual'", "'causal'"]],
  ['an option in other letters', {options: () => ({keylengths: int(2)})}, 'options', ["'keylengths'", "'keyLengths'"]],
  ['an option of another library', {options: () => ({softCap: 3})}, 'options', ["'softCap'", "'softcap'"]],
  ['options a tensor', {options: () => float(7) as unknown as Options}, 'options', ['object', 'tensor']],
  ['options null', {options: () => null as unknown as Options}, 'options', ['object', 'null']],
  ['options a boolean', {options: () => true as unknown as Options}, 'options', ['object', 'true']],
]; // prettier-ignore

/** An option may be absent by being undefined. */
const undefinedIsAbsent: ContractTest = {
  name: 'error: none for options that are undefined',
  run: async () => {
    const {q, k, v} = make();
    const names = [
      'layout', 'scale', 'causal', 'queryOffset', 'window', 'softcap', 'bias', 'alibiSlopes', 'mask', 'keyLengths',
      'segmentIds', 'sinks', 'dropout', 'seed', 'precision',
    ]; // prettier-ignore
    const output = flashAttention(q, k, v, Object.fromEntries(names.map(name => [name, undefined])));
    tf.dispose([q, k, v, output]);
  },
};

const lowerRanks: ContractTest = {
  name: 'error: options of the wrong shape at ranks 2 and 3',
  run: async () => {
    const calls: [string, string[], () => unknown][] = [
      ['bias', ["scores' shape [5,7]", '[1,5,7]'], () => flashAttention(float(5, 8), float(7, 8), float(7, 8), {bias: float(1, 5, 7)})],
      ['mask', ["scores' shape [2,5,7]", '[1,2,5,7]'], () => flashAttention(float(2, 5, 8), float(2, 7, 8), float(2, 7, 8), {mask: bool(1, 2, 5, 7)})],
      ['sinks', ['[1]', '[2]'], () => flashAttention(float(2, 5, 8), float(2, 7, 8), float(2, 7, 8), {sinks: float(2)})],
      ['keyLengths', ['[1]', '[2]'], () => flashAttention(float(5, 8), float(7, 8), float(7, 8), {keyLengths: int(2)})],
    ]; // prettier-ignore
    // Tensors made for a call live in its tidy.
    for (const [argument, fragments, work] of calls)
      tf.tidy(() => void expectComplaint('flashAttention', argument, fragments, work));
  },
};

function complaint([name, change, argument, fragments]: (typeof COMPLAINTS)[number]): ContractTest {
  return {
    name: `error: ${name}`,
    run: async () => {
      tf.tidy(() => {
        const {q, k, v} = {...make(), ...change.tensors?.()};
        const options = change.options?.() as FlashAttentionOptions;
        for (const op of [flashAttention, flashAttentionWithLse] as const) {
          const opName = op === flashAttention ? 'flashAttention' : 'flashAttentionWithLse';
          const before = tf.memory().numTensors;
          expectComplaint(opName, argument, fragments, () => op(q, k, v, options));
          check(tf.memory().numTensors === before, `${name}: the error leaves tensors behind`);
        }
      });
    },
  };
}

function expectComplaint(opName: string, argument: string, fragments: string[], work: () => unknown): void {
  const message = messageOf(work);
  const start = `Argument '${argument}' passed to '${opName}' must `;
  check(message.startsWith(start), `'${message}' does not start with '${start}'`);
  check(message.endsWith('.'), `'${message}' does not end with a full stop`);
  const [expected, got] = message.split(', but got ');
  check(got !== undefined, `'${message}' does not say what it got`);
  for (const fragment of fragments) check(message.includes(fragment), `'${message}' does not contain '${fragment}'`);
  const last = fragments[fragments.length - 1];
  check(got.includes(last), `'${expected}, but got ${got}' does not say after 'got' that it was ${last}`);
}

const disposed: ContractTest = {
  name: 'error: a disposed tensor',
  run: async () => {
    const {q, k, v} = make();
    k.dispose();
    expectComplaint('flashAttention', 'k', ['disposed'], () => flashAttention(q, k, v));
    tf.dispose([q, v]);
  },
};

export function errorTests(): ContractTest[] {
  return [...COMPLAINTS.map(complaint), undefinedIsAbsent, lowerRanks, disposed];
}
