/**
 * What is computed of a block, as a TensorFlow graph: called as a whole it costs one call from JavaScript, where its ops one by one
 * cost that each, as much as some 50 000 scores. Tensors are [heads, length, width].
 */
import {FLOAT, INT32} from './graph_def';
import type {Attribute, GraphNode} from './graph_def';

type Attributes = Record<string, Attribute>;
type AddNode = (name: string, op: string, inputs: string[], attributes: Attributes) => string;

/** Every node can be fetched and every node can be fed by its name; TensorFlow runs what lies between. */
export function attentionGraph(): GraphNode[] {
  const nodes: GraphNode[] = [];
  const ops = opsOn((name, op, inputs, attributes) => {
    nodes.push({name, op, inputs, attributes});
    return name;
  });
  forwardNodes(ops);
  backwardNodes(ops);
  return nodes;
}

/** Makers of nodes; each takes the new node's name and those of its inputs, and returns its own. */
function opsOn(node: AddNode) {
  const T = {T: {type: FLOAT}};
  const along = {...T, Tidx: {type: INT32}};
  const integers = (name: string, ints: number[], shape: number[]): string =>
    node(name, 'Const', [], {dtype: {type: INT32}, value: {ints, shape}});
  const width = integers('width', [2], []);
  const axes = integers('axes', [0, 1, 2], [3]);
  const origin = integers('origin', [0, 0, 0], [3]);
  const oneWide = integers('oneWide', [-1, -1, 1], [3]);
  return {
    input: (name: string, shape = [-1, -1, -1]) =>
      node(name, 'Placeholder', [], {dtype: {type: FLOAT}, shape: {shape}}),
    map: (name: string, op: string, ...inputs: string[]) => node(name, op, inputs, T),
    product: (name: string, a: string, b: string, transposed?: 'a' | 'b') => {
      const [adj_x, adj_y] = [{bool: transposed === 'a'}, {bool: transposed === 'b'}];
      return node(name, 'BatchMatMulV2', [a, b], {...T, adj_x, adj_y});
    },
    /** Over the width, which becomes 1. */
    reduced: (name: string, op: 'Sum' | 'Max', x: string) =>
      node(name, op, [x, width], {...along, keep_dims: {bool: true}}),
    total: (name: string, x: string) => node(name, 'Sum', [x, axes], {...along, keep_dims: {bool: false}}),
    joined: (name: string, ...parts: string[]) =>
      node(name, 'ConcatV2', [...parts, width], {...along, N: {int: parts.length}}),
    firstColumn: (name: string, x: string) => node(name, 'Slice', [x, origin, oneWide], {...T, Index: {type: INT32}}),
  };
}

type Ops = ReturnType<typeof opsOn>;

/** Of a block of rows with all keys. */
function forwardNodes({input, map, product, reduced, firstColumn}: Ops): void {
  ['q', 'k', 'v'].forEach(name => input(name));
  input('scale', []);
  map('scaledQ', 'Mul', 'q', 'scale');
  product('scores', 'scaledQ', 'k', 'b');
  // One op, vectorised where TensorFlow has oneDNN: exponential and sum apart take as long, and have a range to watch.
  map('weights', 'Softmax', 'scores');
  product('output', 'weights', 'v');
  // lse = score − log(weight) of any key whose weight says enough: of the first, or of the greatest, which takes two more passes.
  firstColumn('firstScore', 'scores');
  firstColumn('firstWeight', 'weights');
  reduced('max', 'Max', 'scores');
  reduced('maxWeight', 'Max', 'weights');
}

/**
 * pᵀ = exp(keys · rowsᵀ) · factor, dsᵀ = exp(keys · rowsᵀ) ∘ ([v, 1] · dOutput1ᵀ). What a row subtracts or divides by goes into the
 * products, as a column or as a factor of its dO: between the products stand an exponential and one multiplication.
 */
function backwardNodes({input, map, product, reduced, total, joined, firstColumn}: Ops): void {
  ['savedOutput', 'dOutput', 'lse', 'lseLow', 'dLse'].forEach(name => input(name)); // the last three [heads, rows, 1]
  reduced('delta', 'Sum', map('dOutputOutput', 'Mul', 'dOutput', 'savedOutput'));
  map('dScore', 'Sub', 'dLse', 'delta');
  map('ones', 'OnesLike', firstColumn('firstOfV', 'v'));
  joined('v1', 'v', 'ones');

  // factor = exp(−lse).
  map('factor', 'Exp', map('minusLse', 'Neg', map('lseExact', 'AddV2', 'lse', 'lseLow')));
  map('dOutputScaled', 'Mul', 'dOutput', 'factor');
  joined('dOutput1Scaled', 'dOutputScaled', map('dScoreScaled', 'Mul', 'dScore', 'factor'));
  // factor = 1; two columns take lse off the scores.
  joined('qShifted', 'scaledQ', map('minusLseHigh', 'Neg', 'lse'), map('minusLseLow', 'Neg', 'lseLow'));
  joined('kShifted', 'k', 'ones', 'ones');
  joined('dOutput1', 'dOutput', 'dScore');

  // Of a block of keys with all rows; transposed: two products of three take it as it is.
  ['rows', 'keys', 'dOutputRows', 'dOutput1Rows'].forEach(name => input(name));
  map('exponentials', 'Exp', product('exponents', 'keys', 'rows', 'b'));
  map('dScores', 'Mul', 'exponentials', product('dWeights', 'v1', 'dOutput1Rows', 'b'));
  map('dq', 'Mul', product('dqUnscaled', 'dScores', 'k', 'a'), 'scale');
  product('dk', 'dScores', 'scaledQ');
  product('dv', 'exponentials', 'dOutputRows');
  // NaN or infinite where something is.
  total('totalOfQ', 'dq');
  map('totalOfKeys', 'AddV2', total('totalOfK', 'dk'), total('totalOfV', 'dv'));
}
