/** Holds one case to the contract on the current backend: output, lse and every gradient. */
import * as tf from '@tensorflow/tfjs-core';
import {flashAttention, flashAttentionWithLse} from '../../src';
import type {FlashAttentionOptions} from '../../src';
import type {AttentionCase} from '../cases';
import {chainApplies} from '../chain';
import {allowance, expectClose} from '../closeness';
import type {ToleranceKind} from '../closeness';
import {makeCotangents, makeInputs, shapesOfCase} from '../inputs';
import type {CaseInputs} from '../inputs';
import type {Published} from '../published';
import {referenceAttention, referenceGradients} from '../reference';
import type {ReferenceResult} from '../reference';
import {check} from './contract_test';
import {runChain, runWithGradients, toTensors} from './run';
import type {CaseTensors, GradientName, Run, Values} from './run';

/** The options as a caller writes them. */
export function optionsOf(c: AttentionCase, x: Partial<CaseTensors>): FlashAttentionOptions {
  const {bias: _bias, mask: _mask, alibiSlopes: _slopes, keyLengths: _lengths, ...rest} = c.options;
  const {segmentIds: _segments, sinks: _sinks, queryOffset, ...numbers} = rest;
  return {
    ...numbers,
    ...(c.layout !== 'BHSD' && {layout: c.layout}),
    ...(queryOffset !== undefined && {queryOffset: typeof queryOffset === 'number' ? queryOffset : x.queryOffset}),
    ...(x.bias && {bias: x.bias}),
    ...(x.mask && {mask: x.mask}),
    ...(x.alibiSlopes && {alibiSlopes: x.alibiSlopes}),
    ...(x.keyLengths && {keyLengths: x.keyLengths}),
    ...(x.querySegments && {segmentIds: {query: x.querySegments, key: x.keySegments!}}),
    ...(x.sinks && {sinks: x.sinks}),
  };
}

export const runFlash = (c: AttentionCase, inputs: CaseInputs): Promise<Run> =>
  runWithGradients(c, inputs, x => flashAttentionWithLse(x.q, x.k, x.v, optionsOf(c, x)));

/** Undefined for empty sizes, where the chain has nothing to compute. */
export async function runChainIfAny(c: AttentionCase, inputs: CaseInputs): Promise<Run | undefined> {
  return chainApplies(c) ? runChain(c, inputs) : undefined;
}

/** The output alone, by the op that gives nothing else. */
export async function runForward(c: AttentionCase, inputs: CaseInputs): Promise<Values> {
  const x = toTensors(inputs);
  const output = flashAttention(x.q, x.k, x.v, optionsOf(c, x));
  const values = await output.data();
  tf.dispose([x, output]);
  return values;
}

/** Holds one case to the contract. The chain widens what is allowed: it is run only where its error is needed. */
export async function checkCase(c: AttentionCase): Promise<void> {
  const inputs = makeInputs(c);
  const output = await runForward(c, inputs);
  const flash = await runFlash(c, inputs);
  const references = referencesOf(c, inputs);
  const hold = (chain?: Run): void => {
    checkRun(c, inputs, references, flash, chain);
    // The op without lse may take another way through the kernels: it is held to the same.
    const expected = references.map(r => r.output);
    holdTo(c, 'output of flashAttention', output, chain?.output, expected, shapesOfCase(c).output, 'output');
  };
  try {
    hold();
  } catch (error) {
    const chain = await runChainIfAny(c, inputs);
    if (!chain) throw error;
    hold(chain);
  }
}

/** Holds output and lse of a case to the contract, without the backward pass. */
export async function checkForward(c: AttentionCase): Promise<void> {
  const inputs = makeInputs(c);
  const x = toTensors(inputs);
  const results = flashAttentionWithLse(x.q, x.k, x.v, optionsOf(c, x));
  const read = await Promise.all([results.output.data(), results.lse.data()]);
  tf.dispose([x, results.output, results.lse]);
  const [output, lse] = read as Values[];
  const chain = await runChainIfAny(c, inputs);
  checkOutputs(c, referencesOf(c, inputs), {output, lse}, chain);
}

/** Holds the op to numbers published elsewhere, which are float32 themselves. */
export async function checkPublished({c, inputs, output}: Published): Promise<void> {
  expectClose(c.name, await runForward(c, inputs), output, 4e-6, shapesOfCase(c).output);
}

/** Holds what a run gave to the contract; `chain` sets the allowance. */
export function checkAgainstReference(c: AttentionCase, inputs: CaseInputs, run: Run, chain?: Run): void {
  checkRun(c, inputs, referencesOf(c, inputs), run, chain);
}

function checkOutputs(
  c: AttentionCase,
  references: ReferenceResult[],
  run: Pick<Run, 'output' | 'lse'>,
  chain?: Run,
): void {
  const shapes = shapesOfCase(c);
  for (const name of ['output', 'lse'] as const) {
    const expected = references.map(r => r[name]);
    holdTo(c, name, run[name], chain?.[name], expected, shapes[name], 'output');
  }
}

function checkRun(c: AttentionCase, inputs: CaseInputs, references: ReferenceResult[], run: Run, chain?: Run): void {
  checkOutputs(c, references, run, chain);
  if (c.gradients === 'finite') return checkFinite(c, run);

  const {dOutput, dLse} = makeCotangents(c);
  const gradients = variantsOf(c).map(r => referenceGradients(r, inputs, dOutput.values, dLse.values));
  for (const name of Object.keys(gradients[0]) as GradientName[]) {
    const expected = gradients.map(g => g[name]!);
    holdTo(
      c,
      `gradient of ${name}`,
      run.gradients[name]!,
      chain?.gradients[name],
      expected,
      inputs[name]!.shape,
      'gradient',
    );
  }
}

function checkFinite(c: AttentionCase, run: Run): void {
  for (const [name, values] of Object.entries(run.gradients)) {
    const wrong = Array.from(values).findIndex(x => !Number.isFinite(x));
    check(wrong < 0, `${c.name}: gradient of ${name}[${wrong}] is ${values[wrong]}, expected a finite number`);
  }
}

/** 'float16' may be served in float32, so that either reference will do, each with its own allowance. */
function variantsOf(c: AttentionCase): AttentionCase[] {
  const float32: AttentionCase = {...c, options: {...c.options, precision: 'float32'}};
  return c.options.precision === 'float16' ? [float32, c] : [float32];
}

function referencesOf(c: AttentionCase, inputs: CaseInputs): ReferenceResult[] {
  return variantsOf(c).map(r => referenceAttention(r, inputs));
}

/** The contract's absolute terms, by precision. */
const FLOORS = {
  float32: {output: 4e-6, gradient: 2e-5},
  float16x2: {output: 1e-5, gradient: 2e-5},
} as const;
const FLOAT16_FLOOR = 4e-3;

function holdTo(
  c: AttentionCase,
  what: string,
  actual: Values,
  chain: Values | undefined,
  [float32, float16]: Float64Array[],
  shape: readonly number[],
  kind: ToleranceKind,
): void {
  const floors = FLOORS[c.options.precision === 'float16x2' ? 'float16x2' : 'float32'];
  const message = `${c.name}: ${what}`;
  try {
    expectClose(message, actual, float32, allowance(kind, chain ?? float32, float32, floors[kind]), shape);
  } catch (error) {
    if (!float16) throw error;
    expectClose(message, actual, float16, allowance(kind, float16, float16, FLOAT16_FLOOR), shape);
  }
}
