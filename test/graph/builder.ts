/** Graphs written by hand, as the artifacts that an IOHandler loads. */
import type {io} from '@tensorflow/tfjs-core';
import type {AttrValue, FunctionDef, NodeDef} from '../../src/graph/graph_def';

type Dtype = 'float32' | 'int32' | 'bool';
const TYPES: Record<Dtype, string> = {float32: 'DT_FLOAT', int32: 'DT_INT32', bool: 'DT_BOOL'};

export const b = (value: boolean): AttrValue => ({b: value});
export const i = (value: number): AttrValue => ({i: String(value)});
export const s = (value: string): AttrValue => ({s: btoa(value)});
export const type = (dtype: Dtype): AttrValue => ({type: TYPES[dtype]});
export const func = (name: string): AttrValue => ({func: {name}});

export class GraphBuilder {
  readonly nodes: NodeDef[] = [];
  readonly functions: FunctionDef[] = [];
  private readonly specs: io.WeightsManifestEntry[] = [];
  private readonly data: ArrayBuffer[] = [];
  private readonly outputs: string[] = [];

  /** Appends a node; its name comes back to be used as an input. */
  op(op: string, input: string[], attr: Record<string, AttrValue> = {}, name = `${op}_${this.nodes.length}`): string {
    this.nodes.push({name, op, input, attr});
    return name;
  }

  placeholder(name: string, shape: number[], dtype: Dtype = 'float32'): string {
    const dim = shape.map(size => ({size: String(size)}));
    return this.op('Placeholder', [], {dtype: type(dtype), shape: {shape: {dim}}}, name);
  }

  constant(
    values: number[],
    shape: number[] = [],
    dtype: Dtype = 'float32',
    name = `Const_${this.nodes.length}`,
  ): string {
    this.specs.push({name, shape, dtype});
    const array =
      dtype === 'float32'
        ? new Float32Array(values)
        : dtype === 'int32'
          ? new Int32Array(values)
          : new Uint8Array(values);
    this.data.push(array.slice().buffer);
    return this.op('Const', [], {dtype: type(dtype)}, name);
  }

  ints(...values: number[]): string {
    return this.constant(values, [values.length], 'int32');
  }

  matMul(x: string, y: string, adjX = false, adjY = false): string {
    return this.op('BatchMatMulV2', [x, y], {adj_x: b(adjX), adj_y: b(adjY), T: type('float32')});
  }

  /** softmax(q kᵀ · scale) v */
  attention(q: string, k: string, v: string, scale = 0.5): string {
    const scores = this.op('Mul', [this.matMul(q, k, false, true), this.constant([scale])], {T: type('float32')});
    return this.matMul(this.op('Softmax', [scores], {T: type('float32')}), v);
  }

  output(ref: string): this {
    this.outputs.push(ref);
    return this;
  }

  artifacts(): io.ModelArtifacts {
    const named = (refs: string[]): object => Object.fromEntries(refs.map(ref => [ref, {name: `${ref}:0`}]));
    const inputs = this.nodes.filter(({op}) => op === 'Placeholder').map(({name}) => name);
    const library = this.functions.length > 0 ? {library: {function: this.functions}} : {};
    return {
      format: 'graph-model',
      modelTopology: {node: this.nodes, versions: {producer: 1645}, ...library},
      weightSpecs: this.specs,
      weightData: this.data,
      signature: {inputs: named(inputs), outputs: named(this.outputs)},
    };
  }
}
