/** The attention layers against the same layers from tfjs ops, in models, saved and loaded, and their complaints. */
import * as tf from '@tensorflow/tfjs';
import {join} from 'node:path';
import {GroupedQueryAttention, MultiHeadAttention, multiHeadAttention} from 'tfjs-flash-attention/layers';
import {expectClose, expectSameBits} from '../closeness';
import {describeInPage} from '../harness/browser';
import {FULL_TABLE} from '../harness/full_table';
import {describeOn, type NodeBackend} from '../harness/node';
import {layerChecks, normal} from './checks';

/** On software GPUs, whose compilers take seconds a kernel, what masks do is left to the contract; all with FULL_TABLE. */
const namesOnGpu = Object.keys(layerChecks).filter(
  name => FULL_TABLE || !/causal|under an attention mask|packed|Grouped/.test(name),
);

describe.each<NodeBackend>(['cpu', 'wasm', 'tensorflow', 'webgpu'])('%s', backend => {
  describeOn(backend, 'the layers', () => {
    it.each(backend === 'webgpu' ? namesOnGpu : Object.keys(layerChecks))('%s', name => layerChecks[name]());
  });
});

describeInPage({backend: 'webgl', module: join(__dirname, 'checks_page.ts')}, 'the layers', page => {
  it.each(namesOnGpu)('%s', name => page().call('runLayerCheck', name));
});

describeOn('cpu', 'MultiHeadAttention', () => {
  const config = {numHeads: 2, keyDim: 4, name: 'mha'};

  it('has the weights of Keras, in its order, shapes and by its names', () => {
    const layer = new MultiHeadAttention({...config, valueDim: 3, outputShape: [5, 6]});
    const output = layer.apply([tf.zeros([1, 3, 7]), tf.zeros([1, 4, 8]), tf.zeros([1, 4, 9])]) as tf.Tensor;
    expect(output.shape).toEqual([1, 3, 5, 6]);
    expect(layer.weights.map(({originalName, shape}) => [originalName, shape])).toEqual([
      ['mha/query/kernel', [7, 2, 4]], ['mha/query/bias', [2, 4]], ['mha/key/kernel', [9, 2, 4]], ['mha/key/bias', [2, 4]],
      ['mha/value/kernel', [8, 2, 3]], ['mha/value/bias', [2, 3]], ['mha/attention_output/kernel', [2, 3, 5, 6]],
      ['mha/attention_output/bias', [5, 6]],
    ]); // prettier-ignore
  });

  it('names tensors by keyword or by position, in call and in apply', async () => {
    const layer = multiHeadAttention(config);
    const [q, v, k] = [normal([2, 3, 8], 1), normal([2, 5, 8], 2), normal([2, 5, 8], 3)];
    const byPosition = await (layer.apply([q, v, k]) as tf.Tensor).data();
    expectSameBits('apply by keyword', await (layer.apply(q, {value: v, key: k}) as tf.Tensor).data(), byPosition);
    expectSameBits('call by keyword', await (layer.call(q, {value: v, key: k}) as tf.Tensor).data(), byPosition);
    const keyIsValue = await (layer.apply([q, v, v]) as tf.Tensor).data();
    expectSameBits('without a key', await (layer.apply(q, {value: v}) as tf.Tensor).data(), keyIsValue);
  });

  it('keeps in a model what its symbolic call said, through save, load and clone', async () => {
    const [q, v] = [tf.input({shape: [4, 8]}), tf.input({shape: [6, 8]})];
    const mask = tf.input({shape: [4, 6], dtype: 'bool'});
    const layer = multiHeadAttention({...config, kernelRegularizer: tf.regularizers.l2({l2: 0.1}), useBias: false});
    const output = layer.apply(q, {value: v, attentionMask: mask, useCausalMask: true}) as tf.SymbolicTensor;
    expect(output.shape).toEqual([null, 4, 8]);
    const model = tf.model({inputs: [q, v, mask], outputs: output});
    const inputs = [normal([2, 4, 8], 1), normal([2, 6, 8], 2), tf.greater(normal([2, 4, 6], 3), 0)];
    const expected = await (model.predict(inputs) as tf.Tensor).data();
    const direct = layer.apply(inputs[0], {
      value: inputs[1],
      attentionMask: inputs[2],
      useCausalMask: true,
    }) as tf.Tensor;
    expectSameBits('predict', expected, await direct.data());

    let saved!: tf.io.ModelArtifacts;
    await model.save(
      tf.io.withSaveHandler(async artifacts => {
        saved = artifacts;
        return {modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)};
      }),
    );
    const loaded = await tf.loadLayersModel(tf.io.fromMemory(JSON.parse(JSON.stringify({...saved, weightData: null}), (key, value) => (key === 'weightData' ? saved.weightData : value)))); // prettier-ignore
    expectSameBits('loaded', await (loaded.predict(inputs) as tf.Tensor).data(), expected);

    const copy = tf.serialization.SerializationMap.getMap().classNameMap.MultiHeadAttention[1](
      MultiHeadAttention,
      layer.getConfig(),
    );
    expect((copy as MultiHeadAttention).getConfig()).toEqual(layer.getConfig());
  });

  it('stands in tf.sequential, where it attends to its own input', async () => {
    const model = tf.sequential();
    model.add(multiHeadAttention({...config, inputShape: [5, 8], useCausalMask: true}));
    model.add(
      new GroupedQueryAttention({headDim: 4, numQueryHeads: 4, numKeyValueHeads: 1, rotary: {interleaved: true}}),
    );
    model.add(tf.layers.dense({units: 3}));
    const x = normal([2, 5, 8], 1);
    expect((model.predict(x) as tf.Tensor).shape).toEqual([2, 5, 3]);
    const changed = tf.concat([tf.slice(x, [0, 0, 0], [2, 4, 8]), normal([2, 1, 8], 2)], 1);
    const [first] = [model.layers[0]];
    const rows = (input: tf.Tensor) => tf.slice(first.apply(input) as tf.Tensor, [0, 0, 0], [2, 4, 8]).data();
    expectSameBits('rows before the changed token', await rows(changed), await rows(x));
  });

  it('drops in training only, and the same again by its seed', async () => {
    const x = normal([1, 32, 8], 1);
    const run = async (training: boolean, layer: MultiHeadAttention) =>
      (layer.apply(x, {training}) as tf.Tensor).data();
    const init = {kernelInitializer: tf.initializers.glorotUniform({seed: 5})};
    const make = (): MultiHeadAttention => multiHeadAttention({numHeads: 2, keyDim: 4, dropout: 0.5, seed: 7, ...init});
    const [a, b] = [make(), make()];
    const quiet = await run(false, a);
    expectSameBits('inference', await run(false, a), quiet);
    const [first, second] = [await run(true, a), await run(true, a)];
    expect(Math.max(...first.map((y, n) => Math.abs(y - quiet[n])))).toBeGreaterThan(1e-3);
    expect(Math.max(...first.map((y, n) => Math.abs(y - second[n])))).toBeGreaterThan(1e-3);
    expectSameBits('the first call in training', await run(true, b), first);
  });

  it('forgets neither axes nor masks of a higher rank', async () => {
    const layer = multiHeadAttention({...config, attentionAxes: 1});
    const x = normal([2, 5, 3, 8], 1);
    const visible = tf.greater(normal([2, 1, 5, 5], 2), 0);
    const output = layer.apply(x, {attentionMask: visible}) as tf.Tensor;
    const one = tf.reshape(tf.slice(x, [1, 0, 2, 0], [1, 5, 1, 8]), [1, 5, 8]);
    const flat = multiHeadAttention({...config, name: 'flat'});
    tf.dispose(flat.apply(one) as tf.Tensor);
    flat.setWeights(layer.getWeights());
    const alone = flat.apply(one, {attentionMask: tf.slice(visible, [1, 0, 0, 0], [1, 1, 5, 5])}) as tf.Tensor;
    expectClose('one place', await tf.slice(output, [1, 0, 2, 0], [1, 5, 1, 8]).data(), await alone.data(), 1e-6);
  });

  it('says the shape of its output beforehand, with sizes that are not known yet', () => {
    const query = [null, 3, 7];
    const value = [null, null, 8];
    const shapeOf = (args: object, ...inputs: Array<Array<number | null>>): unknown =>
      multiHeadAttention({...config, ...args}).computeOutputShape(inputs.length === 1 ? inputs[0] : inputs);
    expect(shapeOf({}, query)).toEqual([null, 3, 7]);
    expect(shapeOf({valueDim: 3, outputShape: 5}, query, value)).toEqual([null, 3, 5]);
    expect(shapeOf({outputShape: [5, 6]}, query, value, value)).toEqual([null, 3, 5, 6]);
    expect(shapeOf({attentionAxes: 2}, [null, 4, 3, 7])).toEqual([null, 4, 3, 7]);
    const grouped = new GroupedQueryAttention({headDim: 4, numQueryHeads: 4, numKeyValueHeads: 2});
    expect(grouped.computeOutputShape([query, value])).toEqual([null, 3, 7]);
  });

  it('turns and sinks as GroupedQueryAttention does', async () => {
    const x = normal([2, 6, 8], 1);
    for (const rotary of [true, {interleaved: true, base: 500, positionOffset: 3}]) {
      const options = {rotary, useSinks: true, useCausalMask: true};
      const layer = multiHeadAttention({...config, ...options});
      const grouped = new GroupedQueryAttention({headDim: 4, numQueryHeads: 2, numKeyValueHeads: 2, ...options});
      tf.dispose([layer.apply(x) as tf.Tensor, grouped.apply(x) as tf.Tensor]);
      layer.setWeights(layer.getWeights().map((weight, n) => tf.mul(normal(weight.shape, 10 + n), 0.5)));
      grouped.setWeights(layer.getWeights());
      const values = await (layer.apply(x) as tf.Tensor).data();
      expectSameBits('output', values, await (grouped.apply(x) as tf.Tensor).data());
      const plain = multiHeadAttention({...config, useCausalMask: true});
      tf.dispose(plain.apply(x) as tf.Tensor);
      plain.setWeights(layer.getWeights().slice(0, 8));
      const unturned = await (plain.apply(x) as tf.Tensor).data();
      expect(Math.max(...values.map((y, n) => Math.abs(y - unturned[n])))).toBeGreaterThan(1e-2);
    }
  });

  it('adds its regularizers to the loss and keeps its constraints', async () => {
    const x = normal([2, 4, 8], 1);
    const model = tf.sequential();
    model.add(
      multiHeadAttention({
        ...config,
        inputShape: [4, 8],
        kernelRegularizer: tf.regularizers.l2({l2: 0.5}),
        biasRegularizer: tf.regularizers.l1({l1: 0.25}),
        biasInitializer: 'ones',
        kernelConstraint: tf.constraints.nonNeg(),
        biasConstraint: tf.constraints.maxNorm({maxValue: 0.5, axis: 0}),
      }),
    );
    model.compile({optimizer: tf.train.sgd(0.01), loss: 'meanSquaredError'});
    const sizes = model.getWeights().map(weight => weight.size);
    const sum = (n: number, f: (y: tf.Tensor) => tf.Tensor): number => tf.sum(f(model.getWeights()[n])).dataSync()[0];
    // Kernels and biases take turns.
    const penalty = sizes.reduce(
      (all, _, n) => all + (n % 2 === 0 ? 0.5 * sum(n, tf.square) : 0.25 * sum(n, tf.abs)),
      0,
    );
    // A perfect answer has no other loss. (tfjs adds a regularizer's to the loss in training only.)
    const loss = (await model.trainOnBatch(x, model.predict(x))) as number;
    expectClose('loss', [loss], [penalty], 1e-4 * penalty);

    // tfjs applies a constraint where a weight is set, not after an optimizer's step.
    model.setWeights(model.getWeights().map((weight, n) => normal(weight.shape, n)));
    model.getWeights().forEach((weight, n) => {
      if (n % 2 === 0) expect(tf.min(weight).dataSync()[0]).toBe(0);
      else expect(tf.max(tf.norm(weight, 2, 0)).dataSync()[0]).toBeCloseTo(0.5, 5);
    });
  });

  it('leaves no tensor behind', () => {
    const layer = multiHeadAttention(config);
    const x = normal([1, 4, 8], 1);
    const mask = tf.ones([4, 4]);
    tf.dispose(layer.apply(x) as tf.Tensor);
    const before = tf.memory().numTensors;
    tf.dispose(layer.apply(x, {useCausalMask: true, attentionMask: mask}) as tf.Tensor);
    tf.dispose(layer.apply(x, {returnAttentionScores: true}) as tf.Tensor);
    expect(() => layer.apply(x, {attentionMask: tf.scalar(1)})).toThrow();
    expect(tf.memory().numTensors - before).toBe(1); // the scalar
  });

  it.each<[string, () => unknown, string]>([
    ['no heads', () => multiHeadAttention({numHeads: 0, keyDim: 4}), `'numHeads' passed to 'MultiHeadAttention' must be an integer of at least 1, but got 0.`],
    ['a width', () => multiHeadAttention({numHeads: 2, keyDim: 1.5}), `'keyDim' passed to 'MultiHeadAttention' must be an integer of at least 1, but got 1.5.`],
    ['dropout', () => multiHeadAttention({...config, dropout: 1}), `'dropout' passed to 'MultiHeadAttention' must be a number in [0, 1), but got 1.`],
    ['two axes', () => multiHeadAttention({...config, attentionAxes: [1, 2]}), `'attentionAxes' passed to 'MultiHeadAttention' must name one axis, but got [1,2].`],
    ['rotary', () => multiHeadAttention({...config, keyDim: 3, rotary: true}), `'rotary' passed to 'MultiHeadAttention' must be left out where a head has an odd width`],
    ['rank 2', () => multiHeadAttention(config).apply(tf.zeros([2, 8])), `'query' passed to 'MultiHeadAttention' must be a tensor of rank 3 or more, but got shape [2,8].`],
    ['rank 4', () => multiHeadAttention(config).apply(tf.zeros([2, 3, 4, 8])), `'attentionAxes' passed to 'MultiHeadAttention' must name one axis where inputs have rank 4`],
    ['value and key', () => multiHeadAttention(config).apply([tf.zeros([2, 3, 8]), tf.zeros([2, 4, 8]), tf.zeros([2, 5, 8])]), `'key' passed to 'MultiHeadAttention' must have value's sizes [4]`],
    ['batches', () => multiHeadAttention(config).apply([tf.zeros([2, 3, 8]), tf.zeros([3, 4, 8])]), `'value' passed to 'MultiHeadAttention' must have the query's batch sizes [2], but got shape [3,4,8].`],
    ['a mask', () => multiHeadAttention(config).apply(tf.zeros([2, 3, 8]), {attentionMask: tf.ones([2, 3, 4])}), `'attentionMask' passed to 'MultiHeadAttention' must broadcast to the scores' shape [2,2,3,3], but got shape [2,3,4].`],
    ['segments', () => multiHeadAttention(config).apply(tf.zeros([2, 3, 8]), {segmentIds: tf.zeros([2, 4])}), `'segmentIds' passed to 'MultiHeadAttention' must have shape [2,3], but got shape [2,4].`],
    ['a keyword', () => multiHeadAttention(config).apply(tf.zeros([2, 3, 8]), {value: 3}), `'value' passed to 'MultiHeadAttention' must be a tensor, but got 3.`],
    ['groups', () => new GroupedQueryAttention({headDim: 4, numQueryHeads: 4, numKeyValueHeads: 3}), `'numKeyValueHeads' passed to 'GroupedQueryAttention' must divide numQueryHeads (4), but got 3.`],
    ['another call', () => {
      const layer = multiHeadAttention(config);
      const x = tf.input({shape: [3, 8]});
      layer.apply(x);
      return layer.apply(x, {useCausalMask: true});
    }, `Layer 'mha' is called a second time with other useCausalMask`],
  ])('complains about %s', (_, f, message) => {
    expect(f).toThrow(message);
  }); // prettier-ignore
});
