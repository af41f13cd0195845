/** What is no valid GraphModel is refused in one line that names the place; nothing hangs. */
import {fuseAttention, GraphError} from 'tfjs-flash-attention/graph';
import type {io} from '@tensorflow/tfjs-core';
import {GraphBuilder} from './builder';
import {nodesOf} from './running';

function valid(): GraphBuilder {
  const g = new GraphBuilder();
  const x = g.placeholder('x', [-1, -1, 8]);
  return g.output(g.attention(x, x, x));
}

function broken(change: (artifacts: io.ModelArtifacts, g: GraphBuilder) => void): io.ModelArtifacts {
  const g = valid();
  const artifacts = g.artifacts();
  change(artifacts, g);
  return artifacts;
}

const many = Array.from({length: 1e5}, () => 'x');

describe('fuseAttention refuses', () => {
  it.each([
    ['no topology', broken(a => delete a.modelTopology), /no modelTopology/],
    ['a topology of another kind', broken(a => (a.modelTopology = [])), /no modelTopology/],
    ['a layers model', broken(a => (a.format = 'layers-model')), /layers model.*loadKerasModel/],
    ['a layers model without format', broken(a => (a.modelTopology = {model_config: {}})), /layers model/],
    ['no nodes', broken(a => (a.modelTopology = {versions: {}})), /no list of nodes/],
    ['a node without a name', broken((_, g) => g.nodes.push({op: 'Mul'} as never)), /node\[\d+\] is no node/],
    ['null for a node', broken((_, g) => g.nodes.push(null as never)), /node\[\d+\] is no node/],
    [
      'inputs that are no names',
      broken((_, g) => g.nodes.push({name: 'n', op: 'Mul', input: [1]} as never)),
      /inputs of node 'n'/,
    ],
    [
      'an input that does not exist',
      broken((_, g) => g.op('Neg', ['ghost'], {}, 'n')),
      /Input 'ghost' of node 'n' in the graph does not exist/,
    ],
    [
      'duplicate names',
      broken((_, g) => [g.op('Neg', ['x'], {}, 'n'), g.op('Neg', ['x'], {}, 'n')]),
      /Two nodes of the graph are called 'n'/,
    ],
    [
      'a cycle',
      broken((_, g) => [g.op('Neg', ['m'], {}, 'n'), g.op('Neg', ['n'], {}, 'm')]),
      /Node '[nm]' of the graph depends on itself/,
    ],
    [
      'a node that reads itself',
      broken((_, g) => g.op('Neg', ['n'], {}, 'n')),
      /Node 'n' of the graph depends on itself/,
    ],
    ['a node with 10⁵ inputs', broken((_, g) => g.op('AddN', many, {}, 'n')), /Node 'n' has 100000 inputs/],
    [
      'attributes of another kind',
      broken((_, g) => g.nodes.push({name: 'n', op: 'Neg', input: ['x'], attr: [] as never})),
      /attributes of node 'n'/,
    ],
    [
      'a weight with an absurd shape',
      broken(a => a.weightSpecs!.push({name: 'w', shape: [2 ** 40, 2 ** 40], dtype: 'float32'})),
      /Weight 'w' has an absurd shape, with 1\.21e\+24 elements/,
    ],
    [
      'a weight with a negative size',
      broken(a => a.weightSpecs!.push({name: 'w', shape: [-1], dtype: 'float32'})),
      /Weight 'w' has no valid shape/,
    ],
    ['two weights of one name', broken(a => a.weightSpecs!.push(a.weightSpecs![0])), /Two weights are called/],
    [
      'functions that are no list',
      broken(a => ((a.modelTopology as {library: object}).library = {function: {}})),
      /library\.function is no list/,
    ],
    [
      'a function without a name',
      broken(a => ((a.modelTopology as {library: object}).library = {function: [{}]})),
      /function\[0\] has no signature/,
    ],
    [
      'a cycle in a function',
      broken((_, g) => g.functions.push({signature: {name: 'f'}, nodeDef: [{name: 'n', op: 'Neg', input: ['n']}]})),
      /—/,
    ],
  ] as Array<[string, io.ModelArtifacts, RegExp]>)('%s', (name, artifacts, message) => {
    if (name === 'a cycle in a function') {
      const topology = {
        node: nodesOf(artifacts),
        library: {function: [{signature: {name: 'f'}, nodeDef: [{name: 'n', op: 'Neg', input: ['n']}]}]},
      };
      expect(() => fuseAttention({...artifacts, modelTopology: topology})).toThrow(
        /Node 'n' of function 'f' depends on itself/,
      );
      return;
    }
    const start = performance.now();
    expect(() => fuseAttention(artifacts)).toThrow(GraphError);
    expect(() => fuseAttention(artifacts)).toThrow(message);
    expect(() => fuseAttention(artifacts)).not.toThrow(/\n/);
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it('a weight file that is too short for a constant: its value is unknown, the graph is still rewritten rightly', () => {
    const artifacts = broken(a => (a.weightData = new ArrayBuffer(1)));
    const {report} = fuseAttention(artifacts);
    expect(report.sites[0].options.scale).toBe(1);
    expect(report.fused).toBe(1);
  });

  it.each([
    ['1e999', /Input 'x' of the graph has an absurd shape, with the size Infinity\./],
    ['-5', /with the size -5\./],
    ['NaN', /with the size NaN\./],
    ['2.5', /with the size 2\.5\./],
    ['many', /with the size NaN\./],
    [String(2 ** 60), /with the size 1152921504606847000\./],
    ['1000000000000000', /with 1\.00e\+45 elements\./],
    ['100000', /with 1\.00e\+15 elements\./],
  ])('a declared size of %s', (size, message) => {
    const g = valid();
    g.nodes[0].attr!.shape = {shape: {dim: [{size}, {size}, {size}]}};
    expect(() => fuseAttention(g.artifacts())).toThrow(message);
  });

  it('a declared shape of 1000 axes, one that is no list, one in a function, one of the signature', () => {
    const shaped = (shape: unknown): GraphBuilder => {
      const g = valid();
      g.nodes[0].attr!.shape = {shape: shape as object};
      return g;
    };
    const dims = (count: number, size: string) => ({dim: Array.from({length: count}, () => ({size}))});
    expect(() => fuseAttention(shaped(dims(1000, '-1')).artifacts())).toThrow(/Input 'x' .* with 1000 axes, more than 254\./); // prettier-ignore
    expect(() => fuseAttention(shaped({dim: 3}).artifacts())).toThrow(/Input 'x' .* no list of sizes\./);
    expect(() => fuseAttention(shaped({dim: [null]}).artifacts())).toThrow(/Input 'x' .* with the size NaN\./);
    const placeholder = {name: 'p', op: 'Placeholder', attr: {shape: {shape: dims(1, '-2')}}};
    const inFunction = valid();
    inFunction.functions.push({signature: {name: 'f'}, nodeDef: [placeholder]});
    expect(() => fuseAttention(inFunction.artifacts())).toThrow(/Input 'p' of function 'f' has an absurd shape, with the size -2\./); // prettier-ignore
    const signed = {...valid().artifacts(), signature: {inputs: {x: {name: 'x:0', tensorShape: dims(2, '1e15')}}}};
    expect(() => fuseAttention(signed)).toThrow(/The signature's input 'x' has an absurd shape, with 1\.00e\+30 elements\./); // prettier-ignore
  });

  it('but not sizes of 0, which JSON leaves out, nor unknown ones', () => {
    for (const dim of [
      [{size: '-1'}, {}, {size: '8'}],
      [{size: -1}, {size: -1}, {size: -1}],
    ]) {
      const g = valid();
      g.nodes[0].attr!.shape = {shape: {dim}};
      expect(fuseAttention(g.artifacts()).report.sites).toHaveLength(1);
    }
  });
});

describe('the time that a large graph takes', () => {
  /** Chains of elementwise ops, attention now and then, and Adds that branch: what makes naive searches quadratic or worse. */
  function large(count: number): io.ModelArtifacts {
    const g = new GraphBuilder();
    let x = g.placeholder('x', [-1, -1, 8]);
    const scale = g.constant([0.5]);
    while (g.nodes.length < count) {
      for (let n = 0; n < 80; n++) x = n % 3 === 0 ? g.op('AddV2', [x, x]) : g.op('Mul', [x, scale]);
      const scores = g.op('Mul', [g.matMul(x, x, false, true), scale]);
      x = g.op('AddV2', [g.matMul(g.op('Softmax', [scores]), x), x]);
    }
    return g.output(x).artifacts();
  }

  it('100,000 nodes in under 5 s, and ten times the nodes in about ten times the time', () => {
    const time = (count: number): {seconds: number; fused: number} => {
      const artifacts = large(count);
      // The processor's time: other tests may be running beside this one.
      const start = process.cpuUsage();
      const {report} = fuseAttention(artifacts);
      const {user, system} = process.cpuUsage(start);
      return {seconds: (user + system) / 1e6, fused: report.fused};
    };
    time(1000);
    const small = time(10_000);
    const big = time(100_000);
    console.info(
      `10,000 nodes ${small.seconds.toFixed(2)} s, 100,000 nodes ${big.seconds.toFixed(2)} s, ${big.fused} sites fused`,
    );
    expect(big.fused).toBeGreaterThan(1000);
    expect(big.seconds).toBeLessThan(5);
    expect(big.seconds / small.seconds).toBeLessThan(30);
  });

  it('a hundred thousand Adds in a row over a softmax end the search', () => {
    const g = new GraphBuilder();
    const x = g.placeholder('x', [-1, -1]);
    let scores = x;
    for (let n = 0; n < 1e5; n++) scores = g.op('AddV2', [scores, scores]);
    g.output(g.op('MatMul', [g.op('Softmax', [scores]), x]));
    const start = process.cpuUsage();
    expect(fuseAttention(g.artifacts()).report).toMatchObject({fused: 0, skipped: 1});
    const {user, system} = process.cpuUsage(start);
    expect((user + system) / 1e6).toBeLessThan(5);
  });
});
