/**
 * Runs graphs on tfjs-node: its binding executes single ops, and SavedModels as a whole. Ours is written into TensorFlow's own file
 * system in memory, so nothing touches a disk.
 */
import type {KernelBackend, Tensor, TensorInfo} from '@tensorflow/tfjs-core';
import {attentionGraph} from './graph';
import {savedModel, TAG} from './graph_def';

/** The part of tfjs-node's backend that is used here, so that its package is needed by no one's types. */
interface NodeBackend {
  isUsingGpuDevice: boolean;
  binding: {
    TF_STRING: number;
    createTensor(shape: number[], dtype: number, values: Uint8Array[]): number;
    deleteTensor(id: number): void;
    executeOp(name: string, attributes: [], inputs: number[], outputs: number): unknown[];
    loadSavedModel(folder: string, tags: string): number;
    runSavedModel(model: number, inputs: number[], inputNames: string, outputNames: string): unknown[];
  };
  getInputTensorIds(tensors: TensorInfo[]): number[];
  createOutputTensor(metadata: unknown): Tensor;
}

const FOLDER = 'ram://tfjs-flash-attention';

/** The loaded graph's number; null where this TensorFlow cannot load it. */
const models = new WeakMap<KernelBackend, number | null>();

function load({binding}: NodeBackend): number | null {
  const text = (x: Uint8Array): number => binding.createTensor([], binding.TF_STRING, [x]);
  const inputs = [text(new TextEncoder().encode(`${FOLDER}/saved_model.pb`)), text(savedModel(attentionGraph()))];
  try {
    binding.executeOp('WriteFile', [], inputs, 0);
    return binding.loadSavedModel(FOLDER, TAG);
  } catch {
    return null; // said by `missingGraph`
  } finally {
    inputs.forEach(id => binding.deleteTensor(id));
  }
}

function modelOf(backend: KernelBackend): number | null {
  let model = models.get(backend);
  if (model === undefined) models.set(backend, (model = load(backend as unknown as NodeBackend)));
  return model;
}

/** Where TensorFlow computes on a GPU, graphs and WebAssembly would take every tensor through the host: plain ops are better. */
export function computesOnGpu(backend: KernelBackend): string | null {
  return (backend as unknown as NodeBackend).isUsingGpuDevice ? 'TensorFlow computes on a GPU here' : null;
}

/** Null where graphs run, or why not. */
export function missingGraph(backend: KernelBackend): string | null {
  return modelOf(backend) === null ? 'this build of TensorFlow cannot load a graph from memory' : null;
}

/** The nodes `fetched`, from the tensors in `fed`. */
export function runGraph<Name extends string>(
  backend: KernelBackend,
  fed: Record<string, TensorInfo>,
  ...fetched: readonly Name[]
): Record<Name, Tensor> {
  const node = backend as unknown as NodeBackend;
  const names = Object.keys(fed).join();
  const ids = node.getInputTensorIds(Object.values(fed));
  const results = node.binding.runSavedModel(modelOf(backend)!, ids, names, fetched.join());
  return Object.fromEntries(results.map((x, n) => [fetched[n], node.createOutputTensor(x)])) as Record<Name, Tensor>;
}
