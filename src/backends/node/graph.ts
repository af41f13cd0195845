/**
 * What is computed of a block, as a TensorFlow graph: called as a whole it costs one call from JavaScript and one dispatch, where
 * its ops one by one cost that each, more than a block of some hundred thousand scores takes. Tensors are [heads, length, width].
 */
import {FLOAT, INT32} from './graph_def';
import type {Attribute, GraphNode} from './graph_def';

/** Every node can be fetched and every node can be fed by its name; TensorFlow runs what lies between. */
export function attentionGraph(): GraphNode[] {
  const nodes: GraphNode[] = [];
  const node = (
    name: string,
    op: string,
    inputs: string[] = [],
    attributes: Record<string, Attribute> = {},
  ): string => {
    nodes.push({name, op, inputs, attributes});
    return name;
  };
  const placeholder = (name: string) =>
    node(name, 'Placeholder', [], {dtype: {type: FLOAT}, shape: {shape: [-1, -1, -1]}});
  const integers = (name: string, ints: number[], shape: number[]) =>
    node(name, 'Const', [], {dtype: {type: INT32}, value: {ints, shape}});
  const map = (name: string, op: string, ...inputs: string[]) => node(name, op, inputs, {T: {type: FLOAT}});
  const product = (name: string, a: string, b: string, transpose: {a?: true; b?: true} = {}) =>
    node(name, 'BatchMatMulV2', [a, b], {
      T: {type: FLOAT},
      adj_x: {bool: transpose.a ?? false},
      adj_y: {bool: transpose.b ?? false},
    });
  const width = integers('width', [2], []);
  const alongWidth = {T: {type: FLOAT}, Tidx: {type: INT32}};
  const reduced = (name: string, op: 'Sum' | 'Max', x: string) =>
    node(name, op, [x, width], {...alongWidth, keep_dims: {bool: true}});
  const joined = (name: string, ...parts: string[]) =>
    node(name, 'ConcatV2', [...parts, width], {...alongWidth, N: {int: parts.length}});
  ['q', 'k', 'v'].forEach(placeholder);
  node('scale', 'Placeholder', [], {dtype: {type: FLOAT}, shape: {shape: []}});
  map('scaledQ', 'Mul', 'q', 'scale');
  product('scores', 'scaledQ', 'k', {b: true});

  // One op, vectorised where TensorFlow has oneDNN: exponential and sum apart take as long, and have a range to watch.
  map('weights', 'Softmax', 'scores');
  product('output', 'weights', 'v');
  // lse = max − log(greatest weight).
  reduced('max', 'Max', 'scores');
  reduced('maxWeight', 'Max', 'weights');

  backwardNodes();
  return nodes;

  /**
   * pᵀ = exp(keys · rowsᵀ) · factor, dsᵀ = exp(keys · rowsᵀ) ∘ ([v, 1] · dOutput1ᵀ). What a row subtracts or divides by goes into the
   * products, as a column or as a factor of its dO: between the products stand an exponential and one multiplication.
   */
  function backwardNodes(): void {
    ['savedOutput', 'dOutput', 'lse', 'lseLow', 'dLse'].forEach(placeholder); // lse, lseLow and dLse [heads, rows, 1]
    reduced('delta', 'Sum', map('dOutputOutput', 'Mul', 'dOutput', 'savedOutput'));
    map('dScore', 'Sub', 'dLse', 'delta');
    node('firstOfV', 'Slice', ['v', integers('origin', [0, 0, 0], [3]), integers('oneWide', [-1, -1, 1], [3])], {
      T: {type: FLOAT},
      Index: {type: INT32},
    });
    map('ones', 'OnesLike', 'firstOfV');
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
    ['rows', 'keys', 'dOutputRows', 'dOutput1Rows'].forEach(placeholder);
    map('exponentials', 'Exp', product('exponents', 'keys', 'rows', {b: true}));
    map('dScores', 'Mul', 'exponentials', product('dWeights', 'v1', 'dOutput1Rows', {b: true}));
    product('dqScaled', 'dScores', 'k', {a: true});
    map('dq', 'Mul', 'dqScaled', 'scale');
    product('dk', 'dScores', 'scaledQ');
    product('dv', 'exponentials', 'dOutputRows');
  }
}
