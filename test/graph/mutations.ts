/** Small damages to a graph: inputs rewired, dropped or swapped, ops and flags changed, nodes removed, renamed or doubled. */
import * as fc from 'fast-check';
import type {GraphDef, NodeDef} from '../../src/graph/graph_def';

export interface Mutation {
  kind: 'rewire' | 'rewireNear' | 'op' | 'remove' | 'flag' | 'drop' | 'swap' | 'duplicate' | 'output' | 'text';
  at: number;
  to: number;
}

export const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom<Mutation['kind'][]>('rewire', 'rewireNear', 'rewireNear', 'op', 'op', 'remove', 'flag', 'flag', 'drop', 'swap', 'swap', 'duplicate', 'output', 'text'), // prettier-ignore
  at: fc.nat(),
  to: fc.nat(),
});

/** Ops that take what attention's ops take, so that the mutated graph often still runs. */
const OPS = [
  'Softmax',
  'Relu',
  'Identity',
  'Exp',
  'Neg',
  'Mul',
  'AddV2',
  'Sub',
  'Maximum',
  'RealDiv',
  'Tanh',
  'LogSoftmax',
];

/** Half of the mutations fall near a softmax: elsewhere they rarely matter to the rewriter. */
function target(nodes: NodeDef[], at: number): number {
  const softmaxes = nodes.flatMap(({op}, n) => (op === 'Softmax' || op === 'Exp' ? [n] : []));
  if (at % 2 === 0 || softmaxes.length === 0) return at % nodes.length;
  const near = softmaxes[(at >> 1) % softmaxes.length] + ((at >> 4) % 16) - 10;
  return ((near % nodes.length) + nodes.length) % nodes.length;
}

export function mutate(topology: GraphDef, outputs: Record<string, {name: string}>, {kind, at, to}: Mutation): void {
  const {node: nodes} = topology;
  const n = target(nodes, at);
  const node = nodes[n];
  const other = nodes[to % nodes.length];
  const input = (node.input ??= []);
  const k = to % Math.max(1, input.length);
  switch (kind) {
    case 'rewire':
      if (input.length > 0) input[k] = other.name;
      break;
    case 'rewireNear':
      if (input.length > 0) input[k] = nodes[Math.max(0, n - 1 - (to % 12))].name;
      break;
    case 'op':
      if (input.length > 0) node.op = OPS[to % OPS.length];
      break;
    case 'remove':
      nodes.splice(n, 1);
      break;
    case 'flag':
      for (const attr of Object.values(node.attr ?? {})) if (typeof attr.b === 'boolean') attr.b = !attr.b;
      break;
    case 'drop':
      input.splice(k, 1);
      break;
    case 'swap':
      input.reverse();
      break;
    case 'duplicate':
      nodes.push({...node});
      break;
    case 'output':
      outputs[`extra${n}`] = {name: `${node.name}:0`};
      break;
    case 'text':
      node.name = `${node.name}${to % 3 === 0 ? ':0' : to % 3 === 1 ? '/x' : ''}`;
      break;
    default:
      kind satisfies never;
  }
}
