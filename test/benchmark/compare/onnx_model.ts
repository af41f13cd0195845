/** The peer's model, written as the protocol buffer that it is: nothing here needs the onnx package. */
import {queriesOf} from './result';
import type {Problem} from './result';

/** Fields of a protocol buffer: strings, nested messages, integers. */
type Field = [number: number, value: string | number | Field[]];

function encode(fields: Field[]): number[] {
  const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(Math.floor(n / 128))]);
  return fields.flatMap(([number, value]) => {
    if (typeof value === 'number') return [...varint(number << 3), ...varint(value)];
    const bytes = typeof value === 'string' ? Array.from(new TextEncoder().encode(value)) : encode(value);
    return [...varint((number << 3) | 2), ...varint(bytes.length), ...bytes];
  });
}

/** An ONNX model of one MultiHeadAttention node over [1, rows, H · D]; field numbers as in onnx.proto. */
export function attentionModel(problem: Problem): Uint8Array {
  const {H, N, D} = problem;
  const rowsOf: Record<string, number> = {q: queriesOf(problem), k: N, v: N, output: queriesOf(problem)};
  const tensor = (name: string): Field[] => [
    [1, name],
    [2, [[1, [[1, 1], [2, [1, rowsOf[name], H * D].map(size => [1, [[1, size]]] as Field)]]]]],
  ]; // prettier-ignore
  const names = ['q', 'k', 'v'];
  const node: Field[] = [
    ...names.map(name => [1, name] as Field),
    [2, 'output'],
    [4, 'MultiHeadAttention'],
    [5, [[1, 'num_heads'], [3, H], [20, 2]]],
    [7, 'com.microsoft'],
  ]; // prettier-ignore
  const graph: Field[] = [[1, node], [2, 'attention'], ...names.map(name => [11, tensor(name)] as Field), [12, tensor('output')]]; // prettier-ignore
  return Uint8Array.from(encode([[1, 8], [7, graph], [8, [[1, ''], [2, 17]]], [8, [[1, 'com.microsoft'], [2, 1]]]])); // prettier-ignore
}
