/** Converted Keras models answer as they did in Keras, and stock loading never drops a part of them without a word. */
import * as tf from '@tensorflow/tfjs';
import {loadKerasModel} from 'tfjs-flash-attention/layers';
import {expectClose} from '../closeness';
import {describeOn, type NodeBackend} from '../harness/node';
import {KERAS_MODELS, inputTensors, readKerasModel, readSharedEncoder, type KerasModel} from './keras_models';

const TOLERANCE = 1e-5;

async function expectKerasAnswers(model: tf.LayersModel, keras: KerasModel): Promise<void> {
  const inputs = inputTensors(keras);
  const outputs = [model.predict(inputs.length === 1 ? inputs[0] : inputs)].flat();
  expect(outputs.map(({shape}) => shape)).toEqual(keras.outputs.map(({shape}) => shape));
  for (const [n, output] of outputs.entries()) {
    expectClose(`output ${n}`, await output.data(), keras.outputs[n].values, TOLERANCE, output.shape);
  }
}

describe.each<NodeBackend>(['cpu', 'wasm', 'tensorflow', 'webgpu'])('%s', backend => {
  describeOn(backend, 'a converted Keras model', () => {
    it.each(KERAS_MODELS)('%s gives what Keras gives', async name => {
      const keras = readKerasModel(name);
      const model = await loadKerasModel(tf.io.fromMemory(keras.artifacts));
      await expectKerasAnswers(model, keras);
      model.dispose();
    });

    it('the shared encoder gives what Keras gives', async () => {
      const keras = readSharedEncoder();
      if (!keras) return;
      await expectKerasAnswers(await loadKerasModel(tf.io.fromMemory(keras.artifacts)), keras);
    });
  });
});

describeOn('cpu', 'models by other ways', () => {
  it.each(KERAS_MODELS)('%s survives save and load', async name => {
    const keras = readKerasModel(name);
    const model = await loadKerasModel(tf.io.fromMemory(keras.artifacts));
    let saved: tf.io.ModelArtifacts | undefined;
    await model.save(
      tf.io.withSaveHandler(async artifacts => {
        saved = JSON.parse(JSON.stringify({...artifacts, weightData: undefined}));
        saved!.weightData = artifacts.weightData;
        return {modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)};
      }),
    );
    model.dispose();
    // What tfjs wrote, stock tfjs can read.
    await expectKerasAnswers(await tf.loadLayersModel(tf.io.fromMemory(saved!)), keras);
    await expectKerasAnswers(await loadKerasModel(tf.io.fromMemory(saved!)), keras);
  });

  it.each(KERAS_MODELS)('%s opened by tf.loadLayersModel works or says what to use', async name => {
    const keras = readKerasModel(name);
    const loading = tf.loadLayersModel(tf.io.fromMemory(keras.artifacts));
    if (['causal', 'scores', 'shared'].includes(name)) await expectKerasAnswers(await loading, keras);
    else
      await expect(loading).rejects.toThrow(
        /^Layer '.*' \(MultiHeadAttention\) takes '.*' from layer '.*', .* loadKerasModel /,
      );
  });

  it('a graph model, a file without a model and a wrong argument are named', async () => {
    const load = (modelTopology: object | undefined) => loadKerasModel({load: async () => ({modelTopology})});
    await expect(load({node: []})).rejects.toThrow('loadKerasModel found a graph model');
    await expect(load(undefined)).rejects.toThrow(`loadKerasModel found no 'modelTopology'`);
    await expect(loadKerasModel({})).rejects.toThrow(`Argument 'urlOrIOHandler' passed to 'loadKerasModel'`);
  });

  it('a call that cannot be expressed names its layer', async () => {
    const {artifacts} = readKerasModel('shared');
    const change = (edit: (layer: {inbound_nodes: unknown[][][]}) => void): Promise<unknown> => {
      const copy = JSON.parse(JSON.stringify(artifacts.modelTopology));
      edit(copy.model_config.config.layers.find((layer: {name: string}) => layer.name === 'm'));
      return loadKerasModel(tf.io.fromMemory({...artifacts, modelTopology: copy}));
    };
    const keywords = {value: ['x', 0, 0]};
    await expect(change(m => (m.inbound_nodes[0][0][3] = {...keywords, use_causal_mask: true}))).rejects.toThrow(
      `Layer 'm' is called more than once and in different ways`,
    );
    await expect(change(m => (m.inbound_nodes[0][0][3] = {...keywords, bias: 3}))).rejects.toThrow(
      `Layer 'm' is called with 'bias' set to 3, which is not supported.`,
    );
    await expect(change(m => (m.inbound_nodes[0] = [['x', 0]] as unknown[][]))).rejects.toThrow(
      `Layer 'm' has a call that is not`,
    );
  });
});
