/**
 * A graph that can be asked: who makes this tensor, who reads it, what are its constants. It indexes once (linear in nodes and
 * edges) and refuses what is no graph: names that occur twice, inputs that nothing makes, cycles outside of control flow.
 */
import type {Constants} from './constants';
import type {FunctionDef, GraphDef, NodeDef} from './graph_def';

/** What is wrong with a file, in one line that names the place. */
export class GraphError extends Error {
  override name = 'GraphError';
}

/** A tensor: output `index` of a node. `ref` is how the graph's own inputs spell it. */
export interface Port {
  node: NodeDef;
  index: number;
  ref: string;
  /** `name:index`, however the graph spells it. */
  key: string;
}

/** The first output of a node. */
export function outputOf(node: NodeDef): Port {
  return {node, index: 0, ref: node.name, key: `${node.name}:0`};
}

/** Where the graph's results leave it. */
export interface GraphView {
  readonly name: string;
  readonly nodes: readonly NodeDef[];
  readonly constants: Constants;
  /** Inputs before outputs, except that loops start at their Merge nodes. */
  readonly order: readonly NodeDef[];
  node(name: string): NodeDef | undefined;
  port(ref: string): Port | undefined;
  /** Data input i. */
  input(node: NodeDef, i: number): Port | undefined;
  /** Data inputs, without control inputs. */
  inputs(node: NodeDef): readonly Port[];
  /** Nodes that read any output of this one, control inputs included; a node that reads it twice is there once. */
  consumers(node: NodeDef): readonly NodeDef[];
  /** Nodes whose tensors leave the graph by name. */
  readonly outputs: ReadonlySet<string>;
}

/** `name`, `name:1`, `^name` and, in functions, `name:output:1`. */
export function nodeName(ref: string): string {
  const start = ref.startsWith('^') ? 1 : 0;
  const colon = ref.indexOf(':');
  return colon < 0 ? ref.slice(start) : ref.slice(start, colon);
}

export function isControl(ref: string): boolean {
  return ref.startsWith('^');
}

export function mainGraph(graph: GraphDef, signatures: unknown[], constants: Constants): GraphView {
  return view('the graph', graph.node, signatures.flatMap(signatureOutputs), constants);
}

/** A body of While, If or a partitioned call; its arguments are nodes of op Placeholder here as they are for tfjs. */
export function functionGraph(definition: FunctionDef, constants: Constants): GraphView {
  const parameters = (definition.signature.inputArg ?? []).map(({name}) => ({name, op: 'Placeholder', input: []}));
  const name = `function '${definition.signature.name}'`;
  return view(name, [...parameters, ...(definition.nodeDef ?? [])], Object.values(definition.ret ?? {}), constants);
}

function signatureOutputs(signature: unknown): string[] {
  const outputs = (signature as {outputs?: Record<string, {name?: string}>} | undefined)?.outputs ?? {};
  return Object.values(outputs).flatMap(({name}) => (typeof name === 'string' ? [name] : []));
}

function view(name: string, nodes: readonly NodeDef[], outputRefs: string[], constants: Constants): GraphView {
  const byName = new Map<string, NodeDef>();
  for (const node of nodes) {
    if (byName.has(node.name)) throw new GraphError(`Two nodes of ${name} are called '${node.name}'.`);
    byName.set(node.name, node);
  }
  const consumers = new Map<NodeDef, NodeDef[]>();
  for (const node of nodes) {
    for (const ref of node.input ?? []) {
      const producer = byName.get(nodeName(ref));
      if (!producer) throw new GraphError(`Input '${ref}' of node '${node.name}' in ${name} does not exist.`);
      const readers = consumers.get(producer);
      if (!readers) consumers.set(producer, [node]);
      // Who reads a producer twice stands last in its list the second time.
      else if (readers.at(-1) !== node) readers.push(node);
    }
  }

  // Patterns ask for the same inputs again and again.
  const ports = new Map<string, Port>();
  const port = (ref: string): Port | undefined => {
    let found = ports.get(ref);
    if (!found) {
      found = parsedRef(ref, byName);
      if (found) ports.set(ref, found);
    }
    return found;
  };
  const inputLists = new Map<NodeDef, Port[]>();
  const inputs = (node: NodeDef): readonly Port[] => {
    let list = inputLists.get(node);
    if (!list) {
      list = [];
      for (const ref of node.input ?? []) {
        const from = isControl(ref) ? undefined : port(ref);
        if (from) list.push(from);
      }
      inputLists.set(node, list);
    }
    return list;
  };
  return {
    name, nodes, constants, port, inputs,
    order: topologicalOrder(name, nodes, byName, consumers),
    node: byName.get.bind(byName),
    input: (node, i) => {
      const ref = node.input?.[i];
      return ref === undefined || isControl(ref) ? undefined : port(ref);
    },
    consumers: node => consumers.get(node) ?? [],
    outputs: new Set(outputRefs.map(nodeName)),
  }; // prettier-ignore
}

function parsedRef(ref: string, byName: ReadonlyMap<string, NodeDef>): Port | undefined {
  const node = byName.get(nodeName(ref));
  if (!node) return undefined;
  const colon = ref.lastIndexOf(':');
  const index = colon < 0 ? 0 : Number(ref.slice(colon + 1));
  return {node, index, ref, key: `${node.name}:${index}`};
}

/** Kahn's algorithm. The loops of TensorFlow 1 close over NextIteration, which waits for nobody; any other cycle cannot run. */
function topologicalOrder(
  name: string,
  nodes: readonly NodeDef[],
  byName: ReadonlyMap<string, NodeDef>,
  consumers: ReadonlyMap<NodeDef, readonly NodeDef[]>,
): NodeDef[] {
  const waiting = new Map(nodes.map(node => [node, 0]));
  for (const readers of consumers.values()) {
    for (const reader of readers) if (reader.op !== 'NextIteration') waiting.set(reader, waiting.get(reader)! + 1);
  }
  const ready = nodes.filter(node => waiting.get(node) === 0);
  for (let i = 0; i < ready.length; i++) {
    for (const reader of consumers.get(ready[i]) ?? []) {
      const left = waiting.get(reader)! - 1;
      waiting.set(reader, left);
      if (left === 0) ready.push(reader);
    }
  }
  if (ready.length === nodes.length) return ready;
  const placed = new Set(ready);
  const stuck = oneOnTheCycle(
    nodes.find(node => !placed.has(node))!,
    placed,
    byName,
  );
  throw new GraphError(`Node '${stuck.name}' of ${name} depends on itself.`);
}

/** Walking to a producer that is stuck too must come round. */
function oneOnTheCycle(start: NodeDef, placed: ReadonlySet<NodeDef>, byName: ReadonlyMap<string, NodeDef>): NodeDef {
  const seen = new Set<NodeDef>();
  let node = start;
  while (!seen.has(node)) {
    seen.add(node);
    node = (node.input ?? []).map(ref => byName.get(nodeName(ref))!).find(producer => !placed.has(producer))!;
  }
  return node;
}
