/**
 * What is computed of a block, as a TensorFlow graph: called as a whole it costs one call from JavaScript, where its ops one by one
 * cost that each, as much as some 50 000 scores. Tensors are [heads, length, width].
 */
import {BOOL, FLOAT, INT32} from './graph_def';
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
  const length = integers('length', [1], []);
  const swapped = integers('swapped', [0, 2, 1], [3]);
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
    equal: (name: string, a: string, b: string) =>
      node(name, 'Equal', [a, b], {...T, incompatible_shape_error: {bool: true}}),
    /** Of truth values: whether all along the width or the length, which becomes 1. */
    all: (name: string, x: string, along: 'width' | 'length') =>
      node(name, 'All', [x, along === 'width' ? width : length], {Tidx: {type: INT32}, keep_dims: {bool: true}}),
    /** Truth values with width and length exchanged. */
    transposed: (name: string, x: string) =>
      node(name, 'Transpose', [x, swapped], {T: {type: BOOL}, Tperm: {type: INT32}}),
    total: (name: string, x: string) => node(name, 'Sum', [x, axes], {...along, keep_dims: {bool: false}}),
    joined: (name: string, ...parts: string[]) =>
      node(name, 'ConcatV2', [...parts, width], {...along, N: {int: parts.length}}),
    firstColumn: (name: string, x: string) => node(name, 'Slice', [x, origin, oneWide], {...T, Index: {type: INT32}}),
  };
}

type Ops = ReturnType<typeof opsOn>;

/** Of a block of rows with all keys. */
function forwardNodes(ops: Ops): void {
  const {input, map, product} = ops;
  ['q', 'k', 'v', 'bias'].forEach(name => input(name)); // bias: [heads or 1, rows or 1, keys or 1]
  input('scale', []);
  map('scaledQ', 'Mul', 'q', 'scale');
  attendNodes(ops, '', product('scores', 'scaledQ', 'k', 'b'), 'v');
  const biased = map('biased', 'AddV2', 'scores', 'bias');
  attendNodes(ops, 'Biased', biased, 'v');
  hidingNodes(ops, biased);
}

/** From scores to output; `kind` ends the names. */
function attendNodes({map, product, reduced, total, firstColumn}: Ops, kind: string, scores: string, v: string): void {
  // One op, vectorised where TensorFlow has oneDNN: exponential and sum apart take as long, and have a range to watch.
  const weights = map(`weights${kind}`, 'Softmax', scores);
  total(`total${kind}`, product(`output${kind}`, weights, v));
  // lse = score − log(weight) of any key whose weight says enough: of the first, or of the greatest, which takes two more passes.
  firstColumn(`firstScore${kind}`, scores);
  firstColumn(`firstWeight${kind}`, weights);
  reduced(`max${kind}`, 'Max', scores);
  reduced(`maxWeight${kind}`, 'Max', weights);
}

/**
 * The same, bit by bit, where all is finite; but what a bias of −∞ hides may hold anything, and a row that sees nothing gives 0 and
 * an lse of −∞. Takes passes over the scores, so it is run only where a total is not finite.
 */
function hidingNodes(ops: Ops, biased: string): void {
  const {map, equal, all, transposed} = ops;
  const zero = map('zero', 'ZerosLike', 'scale');
  const minusInfinity = map('minusInfinity', 'Log', zero);
  const hidden = equal('hidden', 'bias', minusInfinity);
  const shown = map('shown', 'SelectV2', hidden, minusInfinity, biased);
  const hiddenKeys = transposed('hiddenKeys', all('hiddenFromAll', hidden, 'length'));
  attendNodes(ops, 'Shown', shown, map('shownV', 'SelectV2', hiddenKeys, zero, 'v'));
  const seesNone = all('seesNone', hidden, 'width');
  map('outputHiding', 'SelectV2', seesNone, zero, 'outputShown');
  map('maxWeightHiding', 'SelectV2', seesNone, map('one', 'Exp', zero), 'maxWeightShown');
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
