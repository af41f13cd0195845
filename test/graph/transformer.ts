/** An encoder of any size with random weights: attention as BERT's graphs spell it, or as Keras's MultiHeadAttention (Einsum). */
import type {io} from '@tensorflow/tfjs-core';
import {GraphBuilder, b, s} from './builder';

export interface EncoderSizes {
  layers: number;
  width: number;
  heads: number;
  inner: number;
}

export const BERT_BASE: EncoderSizes = {layers: 12, width: 768, heads: 12, inner: 3072};

/** Input `x` [1, positions, width] and, for BERT, `mask` [1, 1, 1, positions]. All layers share their weights. */
export function encoder(style: 'bert' | 'keras', {layers, width, heads, inner}: EncoderSizes): io.ModelArtifacts {
  const g = new GraphBuilder();
  const weight = (...shape: number[]): string => {
    let state = shape.length * 7919 + shape[shape.length - 1];
    const next = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      return (state >> 8) / 2 ** 23 / Math.sqrt(width / 3);
    };
    return g.constant(Array.from({length: shape.reduce((n, size) => n * size, 1)}, next), shape);
  };
  const d = width / heads;
  const scale = g.constant([1 / Math.sqrt(d)]);
  const [square, wide, narrow] = [weight(width, width), weight(width, inner), weight(inner, width)];
  const [last, epsilon, half, root] = [g.ints(-1), g.constant([1e-6]), g.constant([0.5]), g.constant([Math.SQRT1_2])];
  const one = g.constant([1]);
  const projection = weight(width, heads, d);
  const output = weight(heads, d, width);
  const x0 = g.placeholder('x', [1, -1, width]);
  const mask = style === 'bert' ? g.placeholder('mask', [1, 1, 1, -1]) : '';
  const [first, flat, deep, perm] = [
    g.ints(1, -1, heads, d),
    g.ints(-1, width),
    g.ints(1, -1, width),
    g.ints(0, 2, 1, 3),
  ];

  const dense = (x: string, w: string): string =>
    g.op('MatMul', [x, w], {transpose_a: b(false), transpose_b: b(false)});
  const add = (x: string, y: string): string => g.op('AddV2', [x, y]);
  const mul = (x: string, y: string): string => g.op('Mul', [x, y]);
  const normal = (x: string): string => {
    const mean = (t: string): string => g.op('Mean', [t, last], {keep_dims: b(true)});
    const centred = g.op('Sub', [x, mean(x)]);
    return mul(centred, g.op('Rsqrt', [add(mean(mul(centred, centred)), epsilon)]));
  };
  const gelu = (x: string): string => mul(mul(x, half), add(g.op('Erf', [mul(x, root)]), one));
  const einsum = (equation: string, x: string, y: string): string =>
    g.op('Einsum', [x, y], {equation: s(equation), N: {i: '2'}});

  const bertAttention = (x: string): string => {
    const rows = g.op('Reshape', [x, flat]);
    const [q, k, v] = [0, 1, 2].map(() => g.op('Transpose', [g.op('Reshape', [dense(rows, square), first]), perm]));
    const scores = add(mul(g.matMul(q, k, false, true), scale), mask);
    const mixed = g.op('Transpose', [g.matMul(g.op('Softmax', [scores]), v), perm]);
    return g.op('Reshape', [dense(g.op('Reshape', [mixed, flat]), square), deep]);
  };
  const kerasAttention = (x: string): string => {
    const [q, k, v] = [0, 1, 2].map(() => einsum('abc,cde->abde', x, projection));
    const scores = einsum('aecd,abcd->acbe', k, mul(q, scale));
    return einsum('abcd,cde->abe', einsum('acbe,aecd->abcd', g.op('Softmax', [scores]), v), output);
  };

  let x = x0;
  for (let layer = 0; layer < layers; layer++) {
    x = normal(add(x, style === 'bert' ? bertAttention(x) : kerasAttention(x)));
    const rows = g.op('Reshape', [x, flat]);
    x = normal(add(x, g.op('Reshape', [dense(gelu(dense(rows, wide)), narrow), deep])));
  }
  return g.output(x).artifacts();
}
