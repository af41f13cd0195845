/**
 * The contract once more under tfjs's debug mode, which reads every kernel's outputs back and refuses what release mode lets
 * pass. (This file's copy of tfjs is its own: the mode ends with it.)
 */
import * as tf from '@tensorflow/tfjs-core';
import {contractTests} from './contract';
import {FULL_TABLE} from './harness/full_table';
import {describeOn} from './harness/node';

const selection = FULL_TABLE ? 'all' : 'core';

describeOn('cpu', 'contract in debug mode', () => {
  beforeAll(() => {
    tf.enableDebugMode();
    // A line for every kernel that runs, and a warning for each NaN and Infinity that the contract wants.
    jest.spyOn(console, 'log').mockImplementation();
    jest.spyOn(console, 'warn').mockImplementation();
  });
  afterAll(() => jest.restoreAllMocks());

  it('the mode is on: tfjs refuses to upload a NaN', () => {
    expect(() => tf.tensor1d([NaN])).toThrow('being uploaded contains NaN');
  });

  for (const {name, run} of contractTests({backend: 'cpu', selection})) it(name, run);
});
