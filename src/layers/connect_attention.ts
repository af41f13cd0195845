/**
 * Rewrites a Keras model's JSON so that tfjs-layers keeps what is said in the calls of attention layers: Keras writes tensors
 * and flags as call keywords, which tfjs passes on as raw JSON and forgets when the model runs. Tensors become inputs of the
 * node, their roles and the flags become options of the layer.
 */
import {FLAGS, ROLES, isTensorReference, sameWiring} from './call_inputs';
import type {TensorReference, Wiring} from './call_inputs';

type Json = null | boolean | number | string | Json[] | {[key: string]: Json};
type JsonObject = {[key: string]: Json};
/** [layer name, node, tensor, keywords]. */
type InboundTensor = [string, number, number, JsonObject?];

const CLASSES = new Set(['MultiHeadAttention', 'GroupedQueryAttention']);

/** Roles and flags by the names that Keras gives them. */
const KERAS_ROLES = new Map<string, (typeof ROLES)[number]>(ROLES.map(role => [snakeCase(role), role]));
const KERAS_FLAGS = new Map<string, (typeof FLAGS)[number]>(FLAGS.map(flag => [snakeCase(flag), flag]));

/**
 * @param topology `modelTopology` of a layers model, as Keras or tfjs wrote it; stays as it is.
 * @returns the same model with attention layers called by position.
 * @throws Error naming the layer whose call cannot be expressed.
 */
export function connectAttention(topology: object): object {
  return walk(topology as JsonObject) as JsonObject;
}

function walk(json: Json): Json {
  if (Array.isArray(json)) return json.map(walk);
  if (typeof json !== 'object' || json === null) return json;
  const result = Object.fromEntries(Object.entries(json).map(([name, value]) => [name, walk(value)]));
  return isAttention(result) && Array.isArray(result.inbound_nodes) ? connect(result) : result;
}

function isAttention({class_name: className, config}: JsonObject): boolean {
  return typeof className === 'string' && CLASSES.has(className) && typeof config === 'object' && config !== null;
}

/** A call with its tensors in a list and its flags apart. */
interface ConnectedCall {
  node: Json[];
  wiring: Wiring | null;
  flags: JsonObject;
}

function connect(layer: JsonObject): JsonObject {
  const name = layer.name as string;
  const calls = (layer.inbound_nodes as Json[]).map(node => connectCall(name, node));
  const [first] = calls;
  if (!first) return layer;
  for (const {wiring, flags} of calls) {
    const isSame = wiring && first.wiring ? sameWiring(wiring, first.wiring) : wiring === first.wiring;
    if (!isSame || JSON.stringify(flags) !== JSON.stringify(first.flags)) {
      throw new Error(
        `Layer '${name}' is called more than once and in different ways, which tfjs-layers cannot express.`,
      );
    }
  }
  const config = {...(layer.config as JsonObject), ...first.flags};
  if (first.wiring) {
    config.call_inputs = Object.fromEntries(
      Object.entries(first.wiring).map(([role, place]) => [snakeCase(role), place]),
    );
  }
  return {...layer, config, inbound_nodes: calls.map(({node}) => node)};
}

function connectCall(name: string, node: Json): ConnectedCall {
  if (!Array.isArray(node) || node.length === 0 || !node.every(isInboundTensor)) {
    throw new Error(`Layer '${name}' has a call that is not a list of [layer, node, tensor, keywords].`);
  }
  const keywords = (node[0] as InboundTensor)[3] ?? {};
  const tensors = (node as InboundTensor[]).map(([layer, index, tensor]): TensorReference => [layer, index, tensor]);
  const flags: JsonObject = {};
  const byRole: Partial<Record<(typeof ROLES)[number], TensorReference>> = {};
  for (const [keyword, value] of Object.entries(keywords)) {
    if (value === null) continue;
    const role = KERAS_ROLES.get(keyword);
    if (role && isTensorReference(value)) byRole[role] = value;
    else if (KERAS_FLAGS.has(keyword) && typeof value === 'boolean') flags[keyword] = value;
    else
      throw new Error(
        `Layer '${name}' is called with '${keyword}' set to ${JSON.stringify(value).slice(0, 80)}, which is not supported.`,
      );
  }
  const places = Object.keys(byRole);
  if (places.length === 0) return {node: tensors.map(reference => [...reference, {}]), wiring: null, flags};
  if (tensors.length > 1)
    throw new Error(`Layer '${name}' is called with a list of tensors and '${places[0]}' besides.`);

  const list = [tensors[0]];
  const wiring: Wiring = {query: 0};
  for (const role of ROLES) {
    const reference = byRole[role];
    if (!reference) continue;
    const known = list.findIndex(other => other.every((part, n) => part === reference[n]));
    wiring[role] = known >= 0 ? known : list.push(reference) - 1;
  }
  return {node: list.map(reference => [...reference, {}]), wiring, flags};
}

function isInboundTensor(x: Json): boolean {
  return Array.isArray(x) && isTensorReference(x.slice(0, 3));
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);
}
