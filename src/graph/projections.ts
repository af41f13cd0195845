/** Keras's projections are Einsums, which backend wasm has no kernel for and others do by broadcasting: matMul does them. */
import {attrOf, stringAttr} from './graph_def';
import type {NodeDef} from './graph_def';
import {isControl} from './graph_view';
import {ELLIPSIS, parseEinsum} from './einsum';

/** An Einsum of two tensors that one matMul computes; `register_op.ts` serves it. */
export const EINSUM_MATMUL_OP = 'EinsumMatMul';

export function einsumsAsMatMuls(nodes: NodeDef[]): NodeDef[] {
  return nodes.map(node => {
    const equation = node.op === 'Einsum' ? lowerCased(stringAttr(node, 'equation')) : null;
    const data = (node.input ?? []).filter(ref => !isControl(ref));
    if (!equation || data.length !== 2) return node;
    return {...node, op: EINSUM_MATMUL_OP, attr: {...node.attr, equation: attrOf.string(equation)}};
  });
}

/** The same equation with its letters renamed: tfjs lower-cases the strings that custom ops get. Null where it is no matMul. */
function lowerCased(equation: string | undefined): string | null {
  const parsed = parseEinsum(equation);
  if (parsed?.inputs.length !== 2) return null;
  const [a, b] = parsed.inputs;
  const single = [...a, ...b].some(x => !parsed.output.includes(x) && a.includes(x) !== b.includes(x));
  const letters = [...new Set(a + b)];
  // Two ellipses may broadcast, which no reshape can do.
  if (single || letters.length > 26 || (a.includes(ELLIPSIS) && b.includes(ELLIPSIS))) return null;
  const rename = (term: string): string => [...term].map(x => (x === ELLIPSIS ? '...' : String.fromCharCode(97 + letters.indexOf(x)))).join(''); // prettier-ignore
  return `${rename(a)},${rename(b)}->${rename(parsed.output)}`;
}
