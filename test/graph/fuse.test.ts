/** What the rewrite keeps as it is: the caller's artifacts, names, signature, unknown fields, weights. */
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import {fuseAttention, loadFusedGraphModel} from 'tfjs-flash-attention/graph';
import {useBackend} from '../harness/node';
import {GraphBuilder, b, type} from './builder';
import {compareFused, handlerOf, nodesOf, opsOf, ramp} from './running';

useBackend('cpu');

function twoLayers(): GraphBuilder {
  const g = new GraphBuilder();
  const x = g.placeholder('x', [-1, -1, 8]);
  const mask = g.constant([1, 0, 0, 1, 1, 0, 1, 1, 1], [1, 3, 3], 'float32', 'triangle');
  const y = g.attention(x, x, x);
  const scores = g.op('Mul', [g.matMul(y, x, false, true), g.constant([0.25])]);
  const low = g.op('Mul', [g.op('Sub', [g.constant([1]), mask]), g.constant([-1e9])]);
  const z = g.matMul(g.op('Softmax', [g.op('AddV2', [scores, low])]), x);
  return g.output(g.op('Identity', [z], {T: type('float32')}, 'result'));
}

/** Throws on any write. */
function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !(value instanceof ArrayBuffer) && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  }
  return value;
}

const shape = [2, 3, 8];

describe('fuseAttention', () => {
  it('fuses every layer and gives the same result', async () => {
    const {report, difference} = await compareFused(twoLayers().artifacts(), {x: ramp(shape)});
    expect(report).toMatchObject({fused: 2, skipped: 0});
    expect(report.sites[1].options).toEqual({scale: 0.25, causal: true});
    expect(difference).toBeLessThan(1e-6);
  });

  it('changes nothing that it was given', () => {
    const artifacts = frozen({
      ...twoLayers().artifacts(),
      userDefinedMetadata: {note: {by: 'me'}},
      convertedBy: 'hand',
    });
    const before = JSON.stringify(artifacts);
    const {artifacts: fused} = fuseAttention(artifacts);
    expect(JSON.stringify(artifacts)).toBe(before);
    expect(fused).not.toBe(artifacts);
  });

  it('keeps signature, metadata, versions and unknown fields', () => {
    const artifacts = {
      ...twoLayers().artifacts(),
      userDefinedMetadata: {a: {}},
      generatedBy: '2.15',
      extra: {kept: true},
    };
    const {artifacts: fused} = fuseAttention(artifacts);
    const {modelTopology, weightSpecs, weightData, ...rest} = fused;
    expect(rest).toEqual({
      format: 'graph-model',
      signature: artifacts.signature,
      userDefinedMetadata: {a: {}},
      generatedBy: '2.15',
      extra: {kept: true},
    });
    expect((modelTopology as {versions: object}).versions).toEqual({producer: 1645});
    expect([weightSpecs?.length, weightData !== undefined]).toEqual([expect.any(Number), true]);
  });

  it('keeps names and order of the nodes that stay, and the root keeps its name', () => {
    const g = twoLayers();
    const before = g.nodes.map(({name}) => name);
    const after = nodesOf(fuseAttention(g.artifacts()).artifacts).map(({name}) => name);
    expect(after.filter(name => before.includes(name))).toEqual(before.filter(name => after.includes(name)));
    expect(after).toContain('result');
    expect(after.filter(name => !before.includes(name))).toEqual([]);
  });

  it('is idempotent: a second time finds nothing and returns the same artifacts', () => {
    const once = fuseAttention(twoLayers().artifacts()).artifacts;
    const twice = fuseAttention(once);
    expect(twice.report).toEqual({fused: 0, skipped: 0, sites: []});
    expect(twice.artifacts).toBe(once);
  });

  it('returns the same artifacts where there is nothing to fuse', () => {
    const g = new GraphBuilder();
    const artifacts = g.output(g.op('Softmax', [g.placeholder('x', [-1, 4])])).artifacts();
    const result = fuseAttention(artifacts);
    expect(result.artifacts).toBe(artifacts);
    expect(result.report.sites).toEqual([]);
  });

  it('reads MatrixBandPart as TensorFlow does even where there is nothing to fuse', async () => {
    const g = new GraphBuilder();
    const bounds = [-1, 0].map(n => g.constant([n], [], 'int32'));
    const artifacts = g.output(g.op('MatrixBandPart', [g.placeholder('x', [-1, -1]), ...bounds])).artifacts();
    const {model, report} = await loadFusedGraphModel(handlerOf(artifacts));
    expect(report.sites).toEqual([]);
    expect([...(model.predict(tf.ones([3, 3])) as tf.Tensor).dataSync()]).toEqual([1, 0, 0, 1, 1, 0, 1, 1, 1]);
    expect(fuseAttention(fuseAttention(artifacts).artifacts).report.sites).toEqual([]);
  });

  it('leaves a site that the caller does not want', async () => {
    const artifacts = twoLayers().artifacts();
    const {report, artifacts: fused} = fuseAttention(artifacts, {fuse: site => site.options.causal === true});
    expect(report.sites.map(({fused: is, reason}) => [is, reason])).toEqual([
      [false, 'the caller asked to leave it'],
      [true, undefined],
    ]);
    expect(opsOf(fused).filter(op => op === 'Softmax')).toHaveLength(1);
    const model = await loadGraphModel(handlerOf(fused));
    const plain = await loadGraphModel(handlerOf(artifacts));
    const gap = tf.max(
      tf.abs(tf.sub(model.predict({x: ramp(shape)}) as tf.Tensor, plain.predict({x: ramp(shape)}) as tf.Tensor)),
    );
    expect(gap.dataSync()[0]).toBeLessThan(1e-6);
  });

  it('drops the weights that only replaced nodes read, and keeps the order of the rest', () => {
    const artifacts = twoLayers().artifacts();
    const {artifacts: fused} = fuseAttention(artifacts);
    const names = fused.weightSpecs!.map(({name}) => name);
    expect(names).not.toContain('triangle');
    expect(names).toEqual(artifacts.weightSpecs!.map(({name}) => name).filter(name => names.includes(name)));
    const consts = nodesOf(fused).filter(({op}) => op === 'Const').map(({name}) => name); // prettier-ignore
    expect(new Set(names)).toEqual(new Set(consts));
  });

  it('keeps a weight that the initializer reads, too', () => {
    const artifacts = {...twoLayers().artifacts(), modelInitializer: {node: [{name: 'triangle', op: 'Const'}]}};
    expect(fuseAttention(artifacts).artifacts.weightSpecs!.map(({name}) => name)).toContain('triangle');
  });

  it('reads quantized constants by their value', async () => {
    const g = twoLayers();
    const artifacts = g.artifacts();
    const at = artifacts.weightSpecs!.findIndex(({name}) => name === 'triangle');
    artifacts.weightSpecs![at] = {...artifacts.weightSpecs![at], quantization: {dtype: 'uint8', scale: 0.5, min: 0}};
    (artifacts.weightData as ArrayBuffer[])[at] = new Uint8Array([2, 0, 0, 2, 2, 0, 2, 2, 2]).buffer;
    const {report, difference} = await compareFused(artifacts, {x: ramp(shape)});
    expect(report.sites[1].options.causal).toBe(true);
    expect(difference).toBeLessThan(1e-6);
  });

  it('passes streamed weights on when asked for artifacts, and reads them when it loads', async () => {
    const {weightData, ...rest} = twoLayers().artifacts();
    const getWeightStream = (): ReadableStream<ArrayBuffer> =>
      new ReadableStream({
        start(controller) {
          (weightData as ArrayBuffer[]).forEach(part => controller.enqueue(part));
          controller.close();
        },
      });
    const streamed = {...rest, getWeightStream};
    const {artifacts, report} = fuseAttention(streamed);
    expect(artifacts.getWeightStream).toBe(getWeightStream);
    expect(artifacts.weightSpecs).toBe(rest.weightSpecs);
    // Without their values the scale is applied to q, and the mask stays a bias.
    expect(report.sites.map(site => [site.fused, site.options])).toEqual([
      [true, {scale: 1}],
      [true, {scale: 1, bias: true}],
    ]);
    const loaded = await loadFusedGraphModel(handlerOf(streamed));
    expect(loaded.report.fused).toBe(2);
    const plain = await loadGraphModel(handlerOf({...rest, weightData}));
    const gap = tf.max(
      tf.abs(tf.sub(loaded.model.predict({x: ramp(shape)}) as tf.Tensor, plain.predict({x: ramp(shape)}) as tf.Tensor)),
    );
    expect(gap.dataSync()[0]).toBeLessThan(1e-6);
  });

  it('leaves a softmax that is an output, or whose scores are', () => {
    for (const wanted of ['Softmax', 'Mul', 'BatchMatMulV2']) {
      const g = new GraphBuilder();
      const x = g.placeholder('x', [-1, -1, 8]);
      g.output(g.attention(x, x, x));
      g.output(g.nodes.find(({op}) => op === wanted)!.name);
      const {report, artifacts} = fuseAttention(g.artifacts());
      expect([wanted, report.fused]).toEqual([wanted, 0]);
      expect(report.sites[0].reason).toMatch(/is an output of the model|is also used by/);
      expect(opsOf(artifacts)).toEqual(g.nodes.map(({op}) => op));
    }
  });

  it('takes control inputs over', async () => {
    const g = new GraphBuilder();
    const x = g.placeholder('x', [-1, -1, 8]);
    const product = g.matMul(x, x, false, true);
    g.nodes[g.nodes.length - 1].input!.push(`^${g.op('Identity', [x], {}, 'first')}`);
    g.output(g.matMul(g.op('Softmax', [product]), x));
    const {report, difference, fused} = await compareFused(g.artifacts(), {x: ramp(shape)});
    expect(report.fused).toBe(1);
    expect(nodesOf(fused).find(({op}) => op === 'FlashAttention')!.input).toEqual(['x', 'x', 'x', '^first']);
    expect(difference).toBeLessThan(1e-6);
  });

  it('rewrites the functions that control flow calls', async () => {
    const g = new GraphBuilder();
    const body = new GraphBuilder();
    body.attention('t', 't', 't');
    const last = body.nodes[body.nodes.length - 1].name;
    const argument = [{name: 't', type: 'DT_FLOAT'}];
    // Constants of functions are weights of the model: move the scale there.
    const scale = body.nodes.find(({op}) => op === 'Const')!;
    body.nodes.forEach(node => (node.input = node.input!.map(ref => (ref === scale.name ? 'attend_scale' : ref))));
    scale.name = 'attend_scale';
    g.constant([0.5], [], 'float32', scale.name);
    g.nodes.pop();
    g.functions.push({
      signature: {name: 'attend', inputArg: argument, outputArg: [{name: 'r'}]},
      nodeDef: body.nodes,
      ret: {r: `${last}:output:0`},
    });
    g.functions.push({
      signature: {name: 'keep', inputArg: argument, outputArg: [{name: 'r'}]},
      nodeDef: [],
      ret: {r: 't'},
    });
    const x = g.placeholder('x', [-1, -1, 8]);
    const yes = g.constant([1], [], 'bool');
    const branch = (name: string) => ({func: {name}});
    g.output(g.op('If', [yes, x], {then_branch: branch('attend'), else_branch: branch('keep'), Tcond: type('bool')}));
    const {report, difference} = await compareFused(g.artifacts(), {x: ramp(shape)}, true);
    expect(report.sites).toMatchObject([{fused: true, name: expect.stringMatching(/^attend\/Softmax/) as string}]);
    expect(difference).toBeLessThan(1e-6);
  });

  it('serves predict, execute and executeAsync, and leaks no tensor', async () => {
    const {model} = await loadFusedGraphModel(handlerOf(twoLayers().artifacts()));
    const x = ramp(shape);
    tf.dispose(model.predict({x}));
    const before = tf.memory().numTensors;
    const results = [
      model.predict({x}),
      model.execute({x}),
      model.execute({x}, 'result'),
      await model.executeAsync({x}),
    ] as tf.Tensor[];
    const values = results.map(result => [...result.dataSync()]);
    for (const list of values) expect(list).toEqual(values[0]);
    tf.dispose(results);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('loads a fused model with stock tf.loadGraphModel, from JSON', async () => {
    const {artifacts} = fuseAttention(twoLayers().artifacts());
    const text = JSON.stringify(artifacts.modelTopology);
    const model = await loadGraphModel(handlerOf({...artifacts, modelTopology: JSON.parse(text) as object}));
    expect((model.predict({x: ramp(shape)}) as tf.Tensor).shape).toEqual(shape);
  });

  it('reports progress and takes the options of tf.loadGraphModel', async () => {
    const reports: number[] = [];
    await loadFusedGraphModel(handlerOf(twoLayers().artifacts()), {
      onReport: ({fused}) => reports.push(fused),
      fuse: () => false,
      strict: false,
    });
    expect(reports).toEqual([0]);
    await expect(loadFusedGraphModel({})).rejects.toThrow('has no load method');
  });

  it('turns the Einsums that remain into matMuls', async () => {
    const g = new GraphBuilder();
    const x = g.placeholder('x', [-1, -1, 8]);
    const w = g.constant(
      Array.from({length: 48}, (_, n) => Math.sin(n)),
      [8, 2, 3],
    );
    const equation = (text: string) => ({equation: {s: Buffer.from(text).toString('base64')}, N: {i: '2'}});
    const heads = g.op('Einsum', [x, w], equation('aBc,cde->aBde'));
    const scores = g.op('Einsum', [heads, heads], equation('aecd,abcd->acbe'));
    const y = g.op('Einsum', [g.op('Softmax', [scores]), heads], equation('acbe,aecd->abcd'));
    g.output(g.op('Einsum', [y, w], equation('abde,cde->abc')));
    const {report, difference, fused} = await compareFused(g.artifacts(), {x: ramp(shape)});
    expect(report.fused).toBe(1);
    expect(opsOf(fused)).not.toContain('Einsum');
    expect(difference).toBeLessThan(2e-5);
  });

  it('adds no constant', () => {
    const g = twoLayers();
    const consts = (nodes: Array<{op: string}>): number => nodes.filter(({op}) => op === 'Const').length;
    expect(consts(nodesOf(fuseAttention(g.artifacts()).artifacts))).toBeLessThanOrEqual(consts(g.nodes));
  });

  it('keeps adj_x and adj_y: q and k given transposed', async () => {
    const g = new GraphBuilder();
    const [q, k, v] = ['q', 'k', 'v'].map((name, n) => g.placeholder(name, n === 2 ? [-1, 5, 3] : [-1, 4, 5]));
    const scores = g.op('BatchMatMulV2', [q, k], {adj_x: b(true), adj_y: b(false)});
    g.output(g.matMul(g.op('Softmax', [scores]), v));
    const {report, difference} = await compareFused(g.artifacts(), {
      q: ramp([2, 4, 5]),
      k: ramp([2, 4, 5], 2),
      v: ramp([2, 5, 3], 3),
    });
    expect(report.fused).toBe(1);
    expect(difference).toBeLessThan(1e-6);
  });
});
