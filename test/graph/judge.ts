/** A model against TensorFlow: as it was, and fused. Runs in Node and in a page. */
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import {loadFusedGraphModel} from 'tfjs-flash-attention/graph';
import {withBandPartsRead} from '../../src/graph/band_part';
import type {GraphDef} from '../../src/graph/graph_def';
import {errorOf} from './unpack';
import type {ModelCase} from './unpack';

export interface Verdict {
  found: number;
  fused: number;
  reasons: string[];
  /** Causal sites. */
  causal: number;
  fusedError: number;
  /** NaN where the backend cannot run the model as it was (wasm has no Einsum). */
  plainError: number;
}

export async function judge(model: ModelCase, unfusedRuns: boolean): Promise<Verdict> {
  const handler = {load: () => Promise.resolve(model.artifacts)};
  const {model: fused, report} = await loadFusedGraphModel(handler);
  const fusedError = await errorOf(fused, model);
  fused.dispose();
  const {sites} = report;
  return {
    found: sites.length,
    fused: report.fused,
    reasons: sites.flatMap(({reason}) => reason ?? []),
    causal: sites.filter(({options}) => options.causal).length,
    fusedError,
    plainError: unfusedRuns ? await plainErrorOf(model) : 1e-6,
  };
}

/** tfjs-converter 4.22 reads MatrixBandPart wrongly: here it is as TensorFlow means it. */
async function plainErrorOf(model: ModelCase): Promise<number> {
  const topology = model.artifacts.modelTopology as GraphDef;
  const artifacts = {...model.artifacts, modelTopology: {...topology, node: withBandPartsRead(topology.node)}};
  const plain = await loadGraphModel({load: () => Promise.resolve(artifacts)});
  try {
    return await errorOf(plain, model);
  } catch (error) {
    if (/'Einsum' not registered/.test(String(error))) return NaN;
    throw error;
  } finally {
    plain.dispose();
  }
}
