/** Each way of running on `cpu` and `wasm`, forced, through the contract's table. */
import './relaxed_simd';
import * as tf from '@tensorflow/tfjs-core';
import {RELAXED_SIMD_FLAG, THREADED_FROM_FLAG, THREADS_FLAG} from '../../src/backends/wasm_settings';
import {forceImplementation} from '../../src/register';
import type {Selection} from '../cases';
import {contractTests} from '../contract';
import {FULL_TABLE} from '../harness/full_table';
import {describeOn, type NodeBackend} from '../harness/node';

interface Way {
  backend: NodeBackend;
  implementation: string;
  relaxed: boolean;
  threads: number;
  /** Where memory and threads are those of another way. */
  selection?: Selection;
}

/** The usual choice of a test run (plain SIMD, one thread for small calls) is test/backends' affair. */
const WAYS: Way[] = [
  {backend: 'cpu', implementation: 'simd', relaxed: true, threads: 1, selection: 'core'},
  {backend: 'wasm', implementation: 'simd', relaxed: true, threads: 1},
  {backend: 'wasm', implementation: 'simd', relaxed: false, threads: 3},
  {backend: 'tensorflow', implementation: 'simd', relaxed: false, threads: 3, selection: 'core'},
];

for (const {backend, implementation, relaxed, threads, selection = 'all'} of WAYS) {
  describeOn(backend, `${implementation}${relaxed ? ', relaxed' : ''}, ${threads} threads`, () => {
    beforeAll(() => {
      forceImplementation(implementation);
      tf.env().set(RELAXED_SIMD_FLAG, relaxed);
      tf.env().set(THREADS_FLAG, threads);
      tf.env().set(THREADED_FROM_FLAG, 0);
    });
    afterAll(() => {
      forceImplementation(null);
      tf.env().reset();
    });
    for (const {name, run} of contractTests({backend, selection: FULL_TABLE ? 'all' : selection})) {
      if (name.startsWith('case: ') || /hidden|NaN/.test(name)) it(name, run);
    }
  });
}
