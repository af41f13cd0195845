/**
 * A TensorFlow graph as the bytes of a SavedModel: the few fields needed of saved_model.proto, meta_graph.proto, graph.proto,
 * node_def.proto, attr_value.proto and tensor.proto (tensorflow/core/protobuf and /framework), in the wire format of protocol buffers.
 */

/** Numbers of types.proto. */
export const FLOAT = 1;
export const INT32 = 3;
export const BOOL = 10;

/** In a shape −1 says "any". */
export type Attribute =
  {type: number} | {int: number} | {bool: boolean} | {shape: number[]} | {ints: number[]; shape: number[]};

export interface GraphNode {
  name: string;
  op: string;
  /** Names of the nodes whose first output it takes. */
  inputs: string[];
  attributes: Record<string, Attribute>;
}

/** A field of a message: its number, and an integer, text, bytes or a message. */
type Field = [number: number, value: number | string | Uint8Array | Field[]];

const VARINT = 0;
const DELIMITED = 2;

/** 64 bits, seven a byte, the lowest first; a negative number in two's complement. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = BigInt.asUintN(64, BigInt(value));
  for (; left > 127n; left >>= 7n) bytes.push(Number(left & 127n) | 128);
  return [...bytes, Number(left)];
}

function encode(fields: Field[]): number[] {
  return fields.flatMap(([number, value]) => {
    if (typeof value === 'number') return [...varint((number << 3) | VARINT), ...varint(value)];
    const bytes =
      typeof value === 'string'
        ? Array.from(new TextEncoder().encode(value))
        : value instanceof Uint8Array
          ? Array.from(value)
          : encode(value);
    return [...varint((number << 3) | DELIMITED), ...varint(bytes.length), ...bytes];
  });
}

function attributeFields(attribute: Attribute): Field[] {
  if ('type' in attribute) return [[6, attribute.type]];
  if ('int' in attribute) return [[3, attribute.int]];
  if ('bool' in attribute) return [[5, Number(attribute.bool)]];
  const shape = attribute.shape.map((size): Field => [2, [[1, size]]]);
  if (!('ints' in attribute)) return [[7, shape]];
  const bytes = new Uint8Array(Int32Array.from(attribute.ints).buffer);
  return [[8, [[1, INT32], [2, shape], [4, bytes]]]]; // prettier-ignore
}

function nodeFields({name, op, inputs, attributes}: GraphNode): Field[] {
  return [
    [1, name],
    [2, op],
    ...inputs.map((input): Field => [3, input]),
    ...Object.entries(attributes).map(([key, value]): Field => [5, [[1, key], [2, attributeFields(value)]]]),
  ]; // prettier-ignore
}

/** The tag by which the graph is loaded. */
export const TAG = 'serve';
/** Of versions.proto: the first producer that has all ops used here as they are used; older consumers refuse. */
const PRODUCER = 716;

export function savedModel(nodes: GraphNode[]): Uint8Array {
  const graph: Field[] = [...nodes.map((node): Field => [1, nodeFields(node)]), [4, [[1, PRODUCER]]]];
  return Uint8Array.from(encode([[1, 1], [2, [[1, [[4, TAG]]], [2, graph]]]])); // prettier-ignore
}
