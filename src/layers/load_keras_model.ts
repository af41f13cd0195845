/** Opens converted Keras models that contain attention layers. */
import {io} from '@tensorflow/tfjs-core';
import {loadLayersModel} from '@tensorflow/tfjs-layers';
import type {LayersModel} from '@tensorflow/tfjs-layers';
import {connectAttention} from './connect_attention';
import './grouped_query_attention';
import './multi_head_attention';

/**
 * `tf.loadLayersModel` for models with MultiHeadAttention (and GroupedQueryAttention): cross attention, causal masks, attention
 * masks and whatever else Keras says in a call by keyword is kept, which stock tfjs-layers cannot do.
 *
 * @param urlOrIOHandler what `tf.loadLayersModel` takes: a URL (file:// in tfjs-node), a path, or an IOHandler.
 * @param options those of `tf.loadLayersModel`.
 * @throws Error naming what is wrong with the file or with the call of an attention layer.
 */
export async function loadKerasModel(
  urlOrIOHandler: string | io.IOHandler,
  options: io.LoadOptions = {},
): Promise<LayersModel> {
  const handler = typeof urlOrIOHandler === 'string' ? handlerOf(urlOrIOHandler, options) : urlOrIOHandler;
  if (typeof handler?.load !== 'function') {
    throw new Error(
      `Argument 'urlOrIOHandler' passed to 'loadKerasModel' must be a URL or an IOHandler with a load method.`,
    );
  }
  const artifacts = await handler.load();
  const {modelTopology} = artifacts;
  if (typeof modelTopology !== 'object' || modelTopology === null) {
    throw new Error(`loadKerasModel found no 'modelTopology' in the model.`);
  }
  if ('node' in modelTopology) {
    throw new Error(
      'loadKerasModel found a graph model: load it by tf.loadGraphModel, or by loadFusedGraphModel of tfjs-flash-attention/graph.',
    );
  }
  return loadLayersModel({load: async () => ({...artifacts, modelTopology: connectAttention(modelTopology)})}, options);
}

function handlerOf(url: string, options: io.LoadOptions): io.IOHandler {
  const [handler, ...others] = io.getLoadHandlers(url, options);
  if (others.length > 0) throw new Error(`loadKerasModel found ${others.length + 1} handlers for '${url}'.`);
  return handler ?? io.browserHTTPRequest(url, options);
}
