/** The inputs that a GraphModel declares, and random values for them. */
import * as tf from '@tensorflow/tfjs-core';
import {shapeAttr, typeAttr} from '../graph/graph_def';
import type {GraphDef, NodeDef} from '../graph/graph_def';
import {nodeName} from '../graph/graph_view';
import {UsageError} from './usage';

export interface ModelInput {
  name: string;
  dtype: 'float32' | 'int32' | 'bool';
  /** −1 where any size will do. */
  shape: number[];
}

/** @throws Error naming an input whose type cannot be made up. */
export function declaredInputs(artifacts: tf.io.ModelArtifacts): ModelInput[] {
  const {node} = artifacts.modelTopology as GraphDef;
  return node.filter(({op}) => op === 'Placeholder').map(placeholder => ({
    name: placeholder.name, dtype: dtypeOf(placeholder), shape: shapeAttr(placeholder, 'shape') ?? [],
  })); // prettier-ignore
}

function dtypeOf(node: NodeDef): ModelInput['dtype'] {
  const type = typeAttr(node, 'dtype') ?? 'DT_FLOAT';
  if (type === 'DT_BOOL') return 'bool';
  if (['DT_INT32', 'DT_INT64', 'DT_INT8', 'DT_UINT8'].includes(type)) return 'int32';
  if (['DT_FLOAT', 'DT_HALF', 'DT_DOUBLE'].includes(type)) return 'float32';
  throw new Error(`Input '${node.name}' has dtype ${type}, for which no values can be made up.`);
}

/** @throws UsageError naming a shape for an input that is not there or does not fit. */
export function checkShapes(artifacts: tf.io.ModelArtifacts, shapes: Record<string, number[]>): void {
  const topology = artifacts.modelTopology as Partial<GraphDef> | undefined;
  const nodes = Array.isArray(topology?.node) ? topology.node : [];
  for (const [name, shape] of Object.entries(shapes)) {
    const placeholder = nodes.find(node => node?.name === name && node.op === 'Placeholder');
    if (!placeholder) throw new UsageError(`--shape names '${name}', but the model has no such input.`);
    const declared = shapeAttr(placeholder, 'shape');
    const fits = declared === undefined || (declared.length === shape.length && declared.every((n, i) => n < 0 || n === shape[i])); // prettier-ignore
    if (!fits) throw new UsageError(`--shape ${name}=${shape.join()} does not fit the declared shape [${declared?.map(n => (n < 0 ? '?' : n)).join()}].`); // prettier-ignore
  }
}

/** Elements of an input that are still made up. */
const MOST = 2 ** 28;
const BATCH = 2;
const LENGTH = 9;

/**
 * Values as a model would get them: floats in [−1, 1); integers below what they index; places of a sparse tensor one after the other;
 * integers that index nothing, and booleans, are masks: ones, then zeros, so that every row keeps its first places.
 */
export function randomInputs(
  artifacts: tf.io.ModelArtifacts,
  shapes: Record<string, number[]>,
  random: () => number,
): tf.NamedTensorMap {
  const {node} = artifacts.modelTopology as GraphDef;
  const tensors = declaredInputs(artifacts).map(({name, dtype, shape}): [string, tf.Tensor] => {
    const sizes = shapes[name] ?? shape.map((n, axis) => (n >= 0 ? n : axis === 0 ? BATCH : LENGTH));
    const count = sizes.reduce((product, n) => product * n, 1);
    if (!(count <= MOST)) throw new Error(`Input '${name}' of shape [${sizes.join()}] is too large to make values up for: give a smaller one with --shape.`); // prettier-ignore
    if (dtype === 'float32')
      return [
        name,
        tf.tensor(
          Float32Array.from({length: count}, () => 2 * random() - 1),
          sizes,
        ),
      ];
    const use = dtype === 'int32' ? useOf(node, name, artifacts) : 'mask';
    const width = sizes[sizes.length - 1] ?? 1;
    const kept = Array.from({length: Math.ceil(count / width)}, () => 1 + Math.floor(random() * width));
    const value = (n: number): number => {
      const [row, column] = [Math.floor(n / width), n % width];
      if (use === 'mask') return Number(column < kept[row]);
      return use === 'places' ? (column === width - 1 ? row : 0) : Math.floor(random() * use);
    };
    return [
      name,
      tf.tensor(
        Int32Array.from({length: count}, (_, n) => value(n)),
        sizes,
        dtype,
      ),
    ];
  });
  return Object.fromEntries(tensors);
}

/** What the integers of an input are: rows of a table, of which there are so many; places in a sparse tensor; or a mask. */
function useOf(nodes: NodeDef[], name: string, artifacts: tf.io.ModelArtifacts): number | 'places' | 'mask' {
  let names = new Set([name]);
  for (let depth = 0; depth < 8; depth++) {
    const next = new Set<string>();
    for (const node of nodes) {
      const inputs = (node.input ?? []).map(nodeName);
      const at = inputs.findIndex(input => names.has(input));
      if (at < 0) continue;
      const isGather = ['GatherV2', 'Gather', 'ResourceGather'].includes(node.op);
      if (isGather && at === 1) {
        const rows = artifacts.weightSpecs?.find(spec => spec.name === inputs[0])?.shape[0];
        if (rows !== undefined) return rows;
      }
      if (node.op === 'SparseToDense' && at === 0) return 'places';
      const passes = ['Identity', 'Reshape', 'Cast', 'ExpandDims', 'Squeeze'].includes(node.op);
      if (passes || (isGather && at === 0) || (node.op === 'SparseToDense' && at === 2)) next.add(node.name);
    }
    names = next;
  }
  return 'mask';
}
