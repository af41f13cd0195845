/**
 * The part of TensorFlow's GraphDef that a model.json holds, and readers of its attributes. Everything in it comes from a
 * file: the readers return undefined for what is not there or is of another kind.
 */

export interface AttrValue {
  s?: string | number[];
  i?: number | string;
  f?: number;
  b?: boolean;
  type?: string | number;
  shape?: {unknownRank?: boolean; dim?: Array<{size?: number | string}>};
  list?: {i?: Array<number | string>; s?: Array<string | number[]>};
  func?: {name?: string};
  tensor?: unknown;
}

export interface NodeDef {
  name: string;
  op: string;
  input?: string[];
  attr?: Record<string, AttrValue>;
}

export interface FunctionDef {
  signature: {
    name: string;
    inputArg?: Array<{name: string; type?: string | number}>;
    outputArg?: Array<{name: string}>;
  };
  nodeDef?: NodeDef[];
  ret?: Record<string, string>;
}

export interface GraphDef {
  node: NodeDef[];
  library?: {function?: FunctionDef[]};
}

export function boolAttr(node: NodeDef, name: string): boolean {
  return node.attr?.[name]?.b === true;
}

export function intAttr(node: NodeDef, name: string): number | undefined {
  const value = node.attr?.[name]?.i;
  return value === undefined ? undefined : Number(value);
}

export function intsAttr(node: NodeDef, name: string): number[] | undefined {
  return node.attr?.[name]?.list?.i?.map(Number);
}

/** Strings are base64 in files of the converter and lists of bytes in older ones. */
export function stringAttr(node: NodeDef, name: string): string | undefined {
  const value = node.attr?.[name]?.s;
  return value === undefined ? undefined : text(value);
}

export function stringsAttr(node: NodeDef, name: string): string[] | undefined {
  return node.attr?.[name]?.list?.s?.map(text);
}

function text(value: string | number[]): string {
  if (typeof value !== 'string') return String.fromCharCode(...value);
  try {
    return atob(value);
  } catch {
    return value;
  }
}

/** DataType by number (types.proto) where the file has no names. */
const DTYPES: Record<number, string> = {1: 'DT_FLOAT', 3: 'DT_INT32', 7: 'DT_STRING', 9: 'DT_INT64', 10: 'DT_BOOL'};

export function typeAttr(node: NodeDef, name: string): string | undefined {
  const value = node.attr?.[name]?.type;
  return typeof value === 'number' ? DTYPES[value] : value;
}

/** The declared shape: −1 where a size is unknown, undefined where the rank is. */
export function shapeAttr(node: NodeDef, name: string): number[] | undefined {
  const shape = node.attr?.[name]?.shape;
  if (!shape || shape.unknownRank) return undefined;
  return (Array.isArray(shape.dim) ? shape.dim : []).map(({size}) => Number(size ?? 0));
}

/** Attribute values for new nodes, encoded as the converter does. */
export const attrOf = {
  bool: (b: boolean): AttrValue => ({b}),
  int: (i: number): AttrValue => ({i}),
  float: (f: number): AttrValue => ({f}),
  ints: (i: readonly number[]): AttrValue => ({list: {i: [...i]}}),
  string: (s: string): AttrValue => ({s: btoa(s)}),
  type: (type: string): AttrValue => ({type}),
};
