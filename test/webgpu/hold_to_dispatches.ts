/** Holds what `explain` says of a call on WebGPU to what is dispatched: kernels, workgroups, arrays in workgroup memory, buffers. */
import * as tf from '@tensorflow/tfjs-core';
import {explain, flashAttention} from '../../src';
import type {FlashAttentionOptions} from '../../src';
import {internalsOf} from '../../src/backends/webgpu/device';
import type {Sizes} from '../cases';
import {watch} from './watch';
import {constantsOf, inOneArray, workgroupArrays} from './workgroup_arrays';

/** What a kernel that `explain` names is called where it is dispatched. */
const LABELS: Record<string, string> = {
  'webgpu-plain': 'forward', 'webgpu-subgroups': 'forward', 'webgpu-decode': 'decode',
  'webgpu-half': 'forwardHalf', 'webgpu-matrix': 'forwardMatrix',
}; // prettier-ignore

/** The constants that a kernel is compiled with, by the names that `explain` has for them. */
const COMPILED: Record<string, Record<string, string>> = {
  lanes: {keys: 'KEYS', lanes: 'LANES', rows: 'ROWS', threads: 'THREADS'},
  matrices: {
    queries: 'TILE_ROWS', keys: 'KEYS', rows: 'SUBGROUP_ROWS', threads: 'THREADS',
    matrixM: 'MATRIX_M', matrixN: 'MATRIX_N', matrixK: 'MATRIX_K',
  },
}; // prettier-ignore

/** Runs the call and compares; the options' tensors are the caller's. */
export async function holdToDispatches(
  kernel: string,
  {H, Hkv, Sq, Sk, D, Dv}: Omit<Sizes, 'B'>,
  options: FlashAttentionOptions = {},
): Promise<void> {
  const given = Object.values(options).filter(x => x instanceof tf.Tensor);
  const [q, k, v] = [tf.ones([1, H, Sq, D]), tf.ones([1, Hkv, Sk, D]), tf.ones([1, Hkv, Sk, Dv])];
  for (const {dataId} of [q, k, v, ...given]) internalsOf(tf.backend()).uploadToGPU(dataId);
  const said = explain(q, k, v, options);
  const {dispatches, shaders, bufferBytes} = await watch(() => flashAttention(q, k, v, options));
  tf.dispose([q, k, v]);

  expect(said.kernel).toBe(kernel);
  expect(said.reasons.map(({name}) => name).sort()).toEqual([...Object.keys(LABELS).filter(name => name !== kernel), 'composed'].sort()); // prettier-ignore
  const {queries, splits, ...tiles} = said.tiles;
  const rowTiles = Hkv * Math.ceil((Sq * (H / Hkv)) / queries);
  const own = dispatches.filter(({kernel: name}) => [...Object.values(LABELS), 'merge'].includes(name));
  expect(own[0]).toEqual({kernel: LABELS[kernel], workgroups: rowTiles * splits});
  expect(own.slice(1).map(({kernel: name}) => name)).toEqual(splits > 1 ? ['merge'] : []);

  const wgsl = shaders[LABELS[kernel]];
  const constants = constantsOf(wgsl);
  const compiled = COMPILED[kernel === 'webgpu-matrix' ? 'matrices' : 'lanes'];
  for (const [name, constant] of Object.entries(compiled)) {
    expect({[constant]: said.tiles[name]}).toEqual({[constant]: constants.get(constant)});
  }
  const known = [...Object.keys(compiled), 'queries', 'subgroups'];
  expect(Object.keys(tiles).filter(name => !known.includes(name))).toEqual([]);
  expect(inOneArray(said.onChip)).toEqual(workgroupArrays(wgsl));

  const lse = 4 * H * Sq;
  const optionBytes = given.reduce((sum, {size, dtype}) => sum + size * (dtype === 'bool' ? 1 : 4), 0);
  expect(said.bytes.fused).toBe(4 * (H * Sq + rowTiles * Sk) * (D + Dv) + lse + optionBytes);
  expect(said.memory.fused).toBe(bufferBytes - 4 * H * Sq * Dv - 2 * lse);
}
