/** Every kernel of the backend by its name, on tfjs's own device or on one with all features: the contract's table. */
import * as tf from '@tensorflow/tfjs-core';
import {explain} from '../../src';
import {forceImplementation} from '../../src/register';
import type {AttentionCase} from '../cases';
import {caseNamed} from '../cases';
import {contractTests} from '../contract';
import {deviceOf} from '../harness/error_scopes';
import {FULL_TABLE} from '../harness/full_table';
import {describeWith, useBackend} from '../harness/node';
import {useFullDevice} from './full_device';

/** What a kernel alone decides: numbers, and what is hidden or NaN. The rest is the backend's, tested once with the kernel it prefers. */
const isOfKernel = (name: string): boolean => name.startsWith('case: ') || /hidden|NaN/.test(name);

/** What the ways to tile differ in; the options are the same text in all of them, and get a glance. */
const OF_TILES = /width|113×203|long window|offsets|more keys|float32/;
const glance = new Set(contractTests({backend: 'webgpu', selection: 'glance'}).map(({name}) => name));

/** The kernel for few queries is only chosen for few; what it expands to for more takes a processor minutes to compile. */
const hasFewRows = (name: string): boolean =>
  !name.startsWith('case: ') || rowsOf(caseNamed(name.slice('case: '.length))) <= 16;
const rowsOf = ({Sq, H, Hkv}: AttentionCase): number => (Sq * H) / Hkv;

function contractOf(variant: string): void {
  beforeAll(() => forceImplementation(variant));
  afterAll(() => forceImplementation(null));
  for (const {name, run} of contractTests({backend: 'webgpu', selection: FULL_TABLE ? 'all' : 'sample'})) {
    // Argument errors reach no kernel.
    const isShort = glance.has(name) || OF_TILES.test(name);
    const isChosen = isShort && isOfKernel(name) && (variant !== 'webgpu-decode' || hasFewRows(name));
    if (FULL_TABLE ? !name.startsWith('error: ') : isChosen) it(name, run);
  }
}

describeWith(['dawn'], 'webgpu-plain', () => {
  useBackend('webgpu');
  // tfjs's own device has no subgroups: there these are the kernels that test/backends/webgpu.test.ts has held to the contract.
  if (FULL_TABLE) contractOf('webgpu-plain');
  it('is what the backend itself runs on tfjs’s own device', () => {
    const x = tf.zeros<tf.Rank.R4>([1, 2, 40, 64]);
    const {tiles} = explain(x, x, x);
    forceImplementation('webgpu-plain');
    expect(explain(x, x, x).tiles).toEqual(tiles);
    forceImplementation(null);
    expect(deviceOf(tf.backend()).features.has('subgroups')).toBe(false);
    x.dispose();
  });
});

// One device: both have the same backward kernels, which compile once.
describeWith(['dawn'], 'on a device with every feature', () => {
  useFullDevice();
  for (const variant of ['webgpu-subgroups', 'webgpu-decode']) describe(variant, () => contractOf(variant));
});
