/** Loading a GraphModel with its attention fused, from everything that tf.loadGraphModel loads from. */
import {io} from '@tensorflow/tfjs-core';
import {GraphModel} from '@tensorflow/tfjs-converter';
import {fuseAttention} from './fuse';
import type {Report, Site} from './report';
import {readable} from './weights';
import './register_op';

/** What `tf.loadGraphModel` takes, and what to fuse. */
export interface LoadFusedOptions extends io.LoadOptions {
  /** Asked for each site that could be fused; false leaves it as it is. */
  fuse?: (site: Site) => boolean;
  /** Called once with the report, before the weights become tensors. */
  onReport?: (report: Report) => void;
}

/**
 * Loads a GraphModel and replaces each attention that can be proved by one fused op.
 * @param modelUrl what tf.loadGraphModel takes: a URL or an IOHandler.
 * @param options those of tf.loadGraphModel, and which sites to fuse.
 * @returns the model, served as any GraphModel, and what was found.
 * @throws Error as tf.loadGraphModel does; GraphError where the graph is not valid.
 */
export async function loadFusedGraphModel(
  modelUrl: string | io.IOHandler,
  options: LoadFusedOptions = {},
): Promise<{model: GraphModel; report: Report}> {
  const {fuse, onReport, ...loadOptions} = options;
  const handler = findHandler(modelUrl, loadOptions);
  if (!handler.load) throw new Error('The IOHandler of the model cannot load: it has no load method.');
  const loaded = await withWeightData(await handler.load());
  const {artifacts, report} = fuseAttention(loaded, {fuse});
  onReport?.(report);
  const model = new GraphModel({load: () => Promise.resolve(artifacts)});
  await model.load();
  return {model, report};
}

/** The rules of GraphModel.findIOHandler and loadGraphModel. */
function findHandler(modelUrl: string | io.IOHandler, options: io.LoadOptions): io.IOHandler {
  if (typeof modelUrl !== 'string') return modelUrl;
  const url = options.fromTFHub
    ? `${modelUrl.endsWith('/') ? modelUrl : `${modelUrl}/`}model.json?tfjs-format=file`
    : modelUrl;
  if (options.requestInit) return io.browserHTTPRequest(url, options);
  const handlers = io.getLoadHandlers(url, options);
  if (handlers.length > 1) throw new Error(`Found more than one (${handlers.length}) load handlers for URL '${url}'`);
  return handlers[0] ?? io.browserHTTPRequest(url, options);
}

/** Patterns need the values of small constants, so a stream of weights is read before the graph is rewritten. */
async function withWeightData(artifacts: io.ModelArtifacts): Promise<io.ModelArtifacts> {
  if (!artifacts.getWeightStream || artifacts.weightData) return artifacts;
  const {getWeightStream, ...rest} = artifacts;
  const weightData: ArrayBuffer[] = [];
  const reader = getWeightStream().getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) weightData.push(part.value);
  return {...rest, weightData: readable(weightData)};
}
