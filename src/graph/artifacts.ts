/** Is this a GraphModel at all? Everything that a file can get wrong about its outline is refused here, in one line. */
import type {io} from '@tensorflow/tfjs-core';
import {absurdity, checkPlaceholders, checkSignature, isRecord} from './declared_shapes';
import type {GraphDef, NodeDef} from './graph_def';
import {GraphError} from './graph_view';

const MAX_INPUTS = 10_000;

/** @returns the topology, in which every node has a name, an op and inputs that are strings. */
export function checkedArtifacts(artifacts: io.ModelArtifacts): GraphDef {
  const topology: unknown = artifacts.modelTopology;
  if (!isRecord(topology))
    throw new GraphError('The model has no modelTopology: it is no model.json of a TensorFlow.js model.');
  const layersModel = artifacts.format === 'layers-model' || 'model_config' in topology || 'class_name' in topology;
  if (layersModel) {
    throw new GraphError(
      'This is a layers model, not a GraphModel: load it with loadKerasModel of tfjs-flash-attention/layers, or convert it ' +
        'with tensorflowjs_converter --output_format=tfjs_graph_model.',
    );
  }
  if (!Array.isArray(topology.node)) throw new GraphError('modelTopology has no list of nodes: it is no GraphModel.');
  checkNodes(topology.node, 'modelTopology.node');
  checkPlaceholders(topology.node, 'the graph');
  checkSignature(artifacts.signature);
  const library = topology.library;
  const functions = isRecord(library) ? (library.function ?? []) : [];
  if (!Array.isArray(functions)) throw new GraphError('modelTopology.library.function is no list.');
  functions.forEach((definition: unknown, i) => checkFunction(definition, `modelTopology.library.function[${i}]`));
  checkWeights(artifacts.weightSpecs);
  return topology as unknown as GraphDef;
}

function checkNodes(nodes: unknown[], place: string): asserts nodes is NodeDef[] {
  nodes.forEach((node, i) => {
    if (!isRecord(node) || typeof node.name !== 'string' || typeof node.op !== 'string') {
      throw new GraphError(`${place}[${i}] is no node with a name and an op.`);
    }
    const input = node.input ?? [];
    if (!Array.isArray(input) || !input.every(ref => typeof ref === 'string')) {
      throw new GraphError(`The inputs of node '${node.name}' are no list of names.`);
    }
    if (input.length > MAX_INPUTS) throw new GraphError(`Node '${node.name}' has ${input.length} inputs.`);
    if (node.attr !== undefined && (!isRecord(node.attr) || !Object.values(node.attr).every(isRecord))) {
      throw new GraphError(`The attributes of node '${node.name}' are no attributes.`);
    }
  });
}

function checkFunction(definition: unknown, place: string): void {
  const signature = isRecord(definition) ? definition.signature : undefined;
  if (!isRecord(definition) || !isRecord(signature) || typeof signature.name !== 'string') {
    throw new GraphError(`${place} has no signature with a name.`);
  }
  const {inputArg = [], outputArg = []} = signature;
  const named = (list: unknown): boolean => Array.isArray(list) && list.every(arg => isRecord(arg) && typeof arg.name === 'string'); // prettier-ignore
  if (!named(inputArg) || !named(outputArg)) throw new GraphError(`The arguments of ${place} have no names.`);
  const nodes = definition.nodeDef ?? [];
  if (!Array.isArray(nodes)) throw new GraphError(`${place}.nodeDef is no list of nodes.`);
  checkNodes(nodes, `${place}.nodeDef`);
  checkPlaceholders(nodes, `function '${signature.name}'`);
  const results = definition.ret ?? {};
  if (!isRecord(results) || !Object.values(results).every(ref => typeof ref === 'string')) {
    throw new GraphError(`${place}.ret does not name its results.`);
  }
}

function checkWeights(specs: unknown): void {
  if (specs === undefined) return;
  if (!Array.isArray(specs)) throw new GraphError('The weights manifest is no list.');
  const names = new Set<string>();
  for (const spec of specs as unknown[]) {
    if (!isRecord(spec) || typeof spec.name !== 'string') throw new GraphError('A weight has no name.');
    const sizes = spec.shape;
    if (!Array.isArray(sizes) || !sizes.every(size => Number.isSafeInteger(size) && (size as number) >= 0)) {
      throw new GraphError(`Weight '${spec.name}' has no valid shape.`);
    }
    const problem = absurdity(sizes as number[]);
    if (problem !== null) throw new GraphError(`Weight '${spec.name}' has an absurd shape, with ${problem}.`);
    if (names.has(spec.name)) throw new GraphError(`Two weights are called '${spec.name}'.`);
    names.add(spec.name);
  }
}
