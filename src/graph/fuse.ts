/** The rewrite: every attention of a GraphModel that can be proved becomes one FlashAttention node, the rest stays as it was. */
import type {io} from '@tensorflow/tfjs-core';
import {withBandPartsRead} from './band_part';
import {checkedArtifacts} from './artifacts';
import {constantsOf} from './constants';
import type {Constants} from './constants';
import {Emitter} from './emit';
import type {Emission} from './emit';
import type {FunctionDef, GraphDef, NodeDef} from './graph_def';
import {known} from './dims';
import type {Dim} from './dims';
import type {Functions} from './patterns/branches';
import {functionGraph, mainGraph, nodeName} from './graph_view';
import type {GraphView} from './graph_view';
import {matchAttention} from './patterns/attention';
import type {Attention} from './patterns/attention';
import {Bounds} from './patterns/bounds';
import {Masks} from './patterns/masks';
import {matchSoftmax} from './patterns/softmax';
import {NotFused} from './patterns/scores';
import {optionsOf, reportOf} from './report';
import type {Report, Site} from './report';
import {inferShapes} from './shapes';
import {einsumsAsMatMuls} from './projections';
import {withoutUnusedWeights} from './weights';

/** What to fuse, and what for. */
export interface FuseOptions {
  /** Asked for each site that could be fused; false leaves it as it is. */
  fuse?: (site: Site) => boolean;
  /** Keep weights that only replaced nodes read, so that the weight files stay valid as they are. */
  keepWeights?: boolean;
  /** Shapes of the model's inputs by name, for the sizes in the report. */
  inputShapes?: Record<string, readonly number[]>;
}

/**
 * Replaces each attention of a GraphModel that can be proved by one `FlashAttention` node; everything else, names, signature and weight order
 * included, stays as it was. Pure, idempotent, and linear in the size of the graph.
 * @param artifacts a GraphModel as an IOHandler loads it; not changed.
 * @param options all optional.
 * @returns new artifacts that share what did not change, and the report per site. Without a site to fuse, the same artifacts (but for a MatrixBandPart, which tfjs-converter 4.22 reads wrongly).
 * @throws GraphError where the artifacts hold no valid GraphModel, naming the place.
 */
export function fuseAttention(
  artifacts: io.ModelArtifacts,
  options: FuseOptions = {},
): {artifacts: io.ModelArtifacts; report: Report} {
  const graph = checkedArtifacts(artifacts);
  const constants = constantsOf(artifacts);
  const signatures = [artifacts.signature, artifacts.userDefinedMetadata?.signature];
  const library = new Map((graph.library?.function ?? []).map(definition => [definition.signature.name, definition]));
  const main = rewrite(mainGraph(graph, signatures, constants), '', options, graph.node, library);
  const functions = (graph.library?.function ?? []).map(definition =>
    rewriteFunction(definition, constants, options, library),
  );
  const report = reportOf([main, ...functions].flatMap(({sites}) => sites));
  // Where nothing is fused, only what tfjs would read wrongly is mended.
  const mended = (nodes: NodeDef[]): NodeDef[] => withBandPartsRead(report.fused > 0 ? einsumsAsMatMuls(nodes) : nodes);
  const bodies = functions.map(({definition}) => withNodes(definition, mended(definition.nodeDef ?? [])));
  const node = mended(main.nodes);
  const isSame = bodies.every((definition, n) => definition === graph.library?.function?.[n]);
  if (isSame && node === graph.node) return {artifacts, report};
  const rewritten = isSame ? {} : {library: {...graph.library, function: bodies}};
  const topology: GraphDef = {...graph, node, ...rewritten};
  const fused = {...artifacts, modelTopology: topology};
  return {artifacts: options.keepWeights ? fused : withoutUnusedWeights(fused, graph), report};
}

function rewriteFunction(definition: FunctionDef, constants: Constants, options: FuseOptions, library: Functions) {
  const prefix = `${definition.signature.name}/`;
  const nodeDef = definition.nodeDef ?? [];
  const {nodes, sites} = rewrite(functionGraph(definition, constants), prefix, options, nodeDef, library);
  return {definition: nodes === nodeDef ? definition : {...definition, nodeDef: nodes}, sites};
}

function withNodes(definition: FunctionDef, nodeDef: NodeDef[]): FunctionDef {
  const before = definition.nodeDef ?? [];
  const isSame = nodeDef.length === before.length && nodeDef.every((node, n) => node === before[n]);
  return isSame ? definition : {...definition, nodeDef};
}

const MAX_ROUNDS = 16;

interface Candidate {
  site: Site;
  match: Attention;
  emission: Emission;
}

function rewrite(
  graph: GraphView,
  prefix: string,
  options: FuseOptions,
  nodes: NodeDef[],
  library: Functions,
): {nodes: NodeDef[]; sites: Site[]} {
  const given = Object.entries(options.inputShapes ?? {}).map(([name, shape]) => [name, shape.map(known)]);
  const shapes = inferShapes(graph, {shapes: Object.fromEntries(given) as Record<string, Dim[]>});
  const subject = {graph, shapes};
  const knowledge = {subject, masks: new Masks(subject, library), bounds: new Bounds(subject)};
  const emitter = new Emitter(graph);
  const sites: Site[] = [];
  let candidates: Candidate[] = [];
  for (const node of graph.order) {
    const softmax = matchSoftmax(subject, node);
    const match = softmax && matchAttention(knowledge, softmax);
    if (!match) continue;
    const site: Site = {name: prefix + node.name, pattern: softmax.form, fused: false, nodes: [node.name], options: {}};
    sites.push(site);
    if (match instanceof NotFused) {
      site.reason = match.reason;
      continue;
    }
    site.pattern = match.pattern;
    site.nodes = [...match.interior.map(({name}) => name), match.root.name];
    site.options = optionsOf(match);
    if (match.extents) site.sizes = match.extents;
    if (options.fuse && !options.fuse({...site})) site.reason = 'the caller asked to leave it';
    else candidates.push({site, match, emission: emitter.emit(match)});
  }

  for (let round = 0; ; round++) {
    const kept = replaced(nodes, graph, candidates);
    const names = new Map(kept.map(node => [node.name, node]));
    const refused = candidates.filter(({site, match}) => {
      const reason = stillNeeded(graph, match, names);
      if (reason !== null) site.reason = reason;
      return reason !== null;
    });
    if (refused.length === 0) {
      for (const {site} of candidates) site.fused = true;
      return {nodes: kept, sites};
    }
    candidates = candidates.filter(candidate => !refused.includes(candidate));
    if (round < MAX_ROUNDS) continue;
    // Each site keeps the next one's scores alive: no real model does, and following it would take quadratic time.
    for (const {site} of candidates) site.reason = 'its scores are used by other sites that stay';
    candidates = [];
  }
}

/** The graph with the candidates in place, without the nodes that only fed what they replaced. */
function replaced(nodes: NodeDef[], graph: GraphView, candidates: Candidate[]): NodeDef[] {
  if (candidates.length === 0) return nodes;
  const emissions = new Map(candidates.map(({match, emission}) => [match.root, emission]));
  const shapes = new Map(candidates.flatMap(({emission}) => emission.shapes));
  const written = new Set<NodeDef>();
  const all = nodes.flatMap(node => {
    const emission = emissions.get(node);
    if (!emission) return [shapes.get(node) ?? node];
    const helpers = emission.helpers.filter(helper => !written.has(helper));
    helpers.forEach(helper => written.add(helper));
    return [...helpers, emission.node];
  });
  const live = reachable(all, node => isRoot(graph, node));
  return all.filter(node => live.has(node.name));
}

/** Results, and all that nothing read in the first place; loops are left whole. */
function isRoot(graph: GraphView, {name, op}: NodeDef): boolean {
  const before = graph.node(name);
  if (!before) return false;
  return (
    graph.outputs.has(name) || graph.consumers(before).length === 0 || op === 'NextIteration' || op === 'Placeholder'
  );
}

function reachable(nodes: readonly NodeDef[], isRootNode: (node: NodeDef) => boolean): Set<string> {
  const byName = new Map(nodes.map(node => [node.name, node]));
  const seen = new Set<string>();
  const stack = nodes.filter(isRootNode).map(({name}) => name);
  for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const ref of byName.get(name)?.input ?? []) stack.push(nodeName(ref));
  }
  return seen;
}

/** Scores or probabilities that something else reads must be computed anyway: then nothing is gained by the op. */
function stillNeeded(graph: GraphView, {interior}: Attention, kept: ReadonlyMap<string, NodeDef>): string | null {
  const remaining = interior.filter(({name}) => kept.has(name));
  if (remaining.length === 0) return null;
  // The reason is where the scores leave the attention, not the nodes before that place.
  const leaves = (from: NodeDef): boolean => graph.outputs.has(from.name) || graph.consumers(from).some(({name}) => kept.has(name) && !remaining.some(other => other.name === name)); // prettier-ignore
  const node = remaining.find(leaves) ?? remaining[0];
  if (graph.outputs.has(node.name)) return `'${node.name}' is an output of the model`;
  const reader = graph
    .consumers(node)
    .find(({name}) => kept.get(name)?.input?.some(ref => nodeName(ref) === node.name) && !remaining.some(other => other.name === name)); // prettier-ignore
  return reader
    ? `'${node.name}' is also used by ${reader.op} '${reader.name}'`
    : `'${node.name}' is an output of the model`;
}
