/** Shapes that a file declares for its inputs: what no tensor can have is refused with the input's name. */
import type {NodeDef} from './graph_def';
import {GraphError} from './graph_view';

/** TensorFlow's TensorShape has at most so many axes. */
const MAX_RANK = 254;
/** More elements than a typed array holds. */
const MAX_ELEMENTS = 2 ** 32;

/** What is wrong with a shape whose sizes may be −1 (unknown), in a clause; null where nothing is. */
export function absurdity(sizes: readonly number[]): string | null {
  if (sizes.length > MAX_RANK) return `${sizes.length} axes, more than ${MAX_RANK}`;
  const wrong = sizes.find(size => !Number.isSafeInteger(size) || size < -1);
  if (wrong !== undefined) return `the size ${wrong}`;
  const elements = sizes.reduce((product, size) => product * (size < 0 ? 1 : size), 1);
  return elements > MAX_ELEMENTS ? `${elements.toPrecision(3)} elements` : null;
}

/** @throws GraphError naming a Placeholder whose declared shape no tensor can have. */
export function checkPlaceholders(nodes: readonly NodeDef[], place: string): void {
  for (const {name, op, attr} of nodes) {
    if (op.startsWith('Placeholder')) checkShape(attr?.shape?.shape, `Input '${name}' of ${place}`);
  }
}

/** @throws GraphError naming an input or output of the signature whose shape no tensor can have. */
export function checkSignature(signature: unknown): void {
  if (!isRecord(signature)) return;
  for (const [kind, list] of [['input', signature.inputs], ['output', signature.outputs]] as const) {
    if (!isRecord(list)) continue;
    for (const [name, info] of Object.entries(list)) {
      if (isRecord(info)) checkShape(info.tensorShape, `The signature's ${kind} '${name}'`);
    }
  }
} // prettier-ignore

function checkShape(shape: unknown, place: string): void {
  const dims = isRecord(shape) && shape.unknownRank !== true ? (shape.dim ?? []) : [];
  if (!Array.isArray(dims)) throw new GraphError(`${place} has a shape that is no list of sizes.`);
  // A size of 0 is not written into JSON.
  const problem = absurdity(dims.map((dim: unknown) => (isRecord(dim) ? Number(dim.size ?? 0) : NaN)));
  if (problem !== null) throw new GraphError(`${place} has an absurd shape, with ${problem}.`);
}

/** A JSON object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
