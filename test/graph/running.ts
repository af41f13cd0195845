/** Running a model built in a test, before and after fusing. */
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import type {GraphModel} from '@tensorflow/tfjs-converter';
import {fuseAttention, loadFusedGraphModel} from 'tfjs-flash-attention/graph';
import type {Report} from 'tfjs-flash-attention/graph';
import type {GraphDef, NodeDef} from '../../src/graph/graph_def';

export const handlerOf = (artifacts: tf.io.ModelArtifacts): tf.io.IOHandler => ({
  load: () => Promise.resolve(artifacts),
});

export function nodesOf(artifacts: tf.io.ModelArtifacts): NodeDef[] {
  return (artifacts.modelTopology as GraphDef).node;
}

export function opsOf(artifacts: tf.io.ModelArtifacts): string[] {
  return nodesOf(artifacts).map(({op}) => op);
}

export function fusedOps(artifacts: tf.io.ModelArtifacts): string[] {
  return opsOf(fuseAttention(artifacts).artifacts);
}

/** Values that differ from place to place, in [−1, 1). */
export function ramp(shape: number[], seed = 1): tf.Tensor {
  const count = shape.reduce((n, size) => n * size, 1);
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return ((state >>> 8) & 0xffff) / 0x8000 - 1;
  };
  return tf.tensor(Float32Array.from({length: count}, next), shape);
}

async function outputsOf(model: GraphModel, inputs: tf.NamedTensorMap, dynamic: boolean): Promise<Float32Array[]> {
  const result = dynamic ? await model.executeAsync(inputs) : model.execute(inputs);
  const tensors = Array.isArray(result) ? result : [result];
  return Promise.all(tensors.map(async tensor => Float32Array.from(await tensor.data())));
}

/** Fuses, runs both, and returns the report with the largest difference (Infinity where sizes or NaN differ). */
export async function compareFused(
  artifacts: tf.io.ModelArtifacts,
  inputs: tf.NamedTensorMap,
  dynamic = false,
): Promise<{report: Report; difference: number; fused: tf.io.ModelArtifacts}> {
  const plain = await loadGraphModel(handlerOf(artifacts));
  const {model, report} = await loadFusedGraphModel(handlerOf(artifacts));
  const before = await outputsOf(plain, inputs, dynamic);
  const after = await outputsOf(model, inputs, dynamic);
  let difference = 0;
  before.forEach((values, n) => {
    if (values.length !== after[n].length) difference = Infinity;
    values.forEach((x, k) => {
      const gap = Object.is(x, after[n][k]) ? 0 : Math.abs(x - after[n][k]);
      difference = Math.max(difference, Number.isNaN(gap) ? Infinity : gap);
    });
  });
  return {report, difference, fused: fuseAttention(artifacts).artifacts};
}
