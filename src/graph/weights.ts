/** Leaves out the weights that only replaced nodes read, such as a buffer with the causal mask. */
import type {io} from '@tensorflow/tfjs-core';
import {byteLength, slice} from './constants';
import type {GraphDef, NodeDef} from './graph_def';

/** The artifacts without weights whose Const node was in `before` and is nowhere now; streamed weights stay as they are. */
export function withoutUnusedWeights(artifacts: io.ModelArtifacts, before: GraphDef): io.ModelArtifacts {
  const {weightSpecs, weightData} = artifacts;
  if (!weightSpecs || !weightData || artifacts.getWeightStream) return artifacts;
  const now = constantNames(artifacts.modelTopology as GraphDef);
  for (const name of constantNames(artifacts.modelInitializer)) now.add(name);
  const gone = new Set([...constantNames(before)].filter(name => !now.has(name)));
  if (!weightSpecs.some(({name}) => gone.has(name))) return artifacts;

  const kept: io.WeightsManifestEntry[] = [];
  const pieces: Array<{from: number; length: number}> = [];
  let offset = 0;
  for (const spec of weightSpecs) {
    const bytes = byteLength(spec);
    // The length of strings is inside the data: nothing behind them can be cut out.
    if (bytes === null) return artifacts;
    if (!gone.has(spec.name)) {
      kept.push(spec);
      const last = pieces[pieces.length - 1];
      if (last && last.from + last.length === offset) last.length += bytes;
      else pieces.push({from: offset, length: bytes});
    }
    offset += bytes;
  }
  return {...artifacts, weightSpecs: kept, weightData: cutOut(weightData, pieces)};
}

/** One buffer from one buffer; from several, several. */
function cutOut(weightData: io.WeightData, pieces: Array<{from: number; length: number}>): io.WeightData {
  const buffers = pieces.map(({from, length}) => slice(weightData, from, length));
  if (Array.isArray(weightData)) return readable(buffers);
  const whole = new Uint8Array(pieces.reduce((sum, {length}) => sum + length, 0));
  let offset = 0;
  for (const buffer of buffers) {
    whole.set(new Uint8Array(buffer), offset);
    offset += buffer.byteLength;
  }
  return whole.buffer;
}

/**
 * The buffers as tfjs-core 4.22 can read them: it takes buffers for equally long when all but the last are, and then looks for
 * the end of a longer last one where nothing is (CompositeArrayBuffer), which gives zeros. An empty buffer behind it helps.
 */
export function readable(buffers: ArrayBuffer[]): ArrayBuffer[] {
  const last = buffers[buffers.length - 1];
  return buffers.length > 1 && last.byteLength > buffers[0].byteLength ? [...buffers, new ArrayBuffer(0)] : buffers;
}

function constantNames(graph: Partial<GraphDef> | undefined): Set<string> {
  const functions = graph?.library?.function ?? [];
  const nodes: NodeDef[] = [...(graph?.node ?? []), ...functions.flatMap(({nodeDef}) => nodeDef ?? [])];
  return new Set(nodes.filter(({op}) => op === 'Const').map(({name}) => name));
}
