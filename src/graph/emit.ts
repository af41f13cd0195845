/** Writes a matched attention as nodes: one FlashAttention in place of the root, and what its bias or mask still needs. */
import type {Axes} from './axes';
import {attrOf} from './graph_def';
import type {AttrValue, NodeDef} from './graph_def';
import {isControl} from './graph_view';
import type {GraphView} from './graph_view';
import type {Attention} from './patterns/attention';
import type {Expression} from './patterns/mask_algebra';

/** The op of the node that a site becomes; `register_op.ts` serves it. */
export const FLASH_ATTENTION_OP = 'FlashAttention';

/** The shape that the scores would have, for graphs that make their masks by it. */
export const SCORES_SHAPE_OP = 'FlashAttentionScoresShape';

export interface Emission {
  node: NodeDef;
  /** Nodes that only ask for the scores' shape, and what answers them from q and k. */
  shapes: Array<[NodeDef, NodeDef]>;
  /** New nodes that it reads. */
  helpers: NodeDef[];
}

/** Makes nodes with names that the graph does not have yet; the same expression is made once. */
export class Emitter {
  private readonly made = new Map<string, NodeDef>();
  private readonly names = new Set<string>();

  constructor(private readonly graph: GraphView) {}

  emit(site: Attention): Emission {
    const helpers: NodeDef[] = [];
    const {root} = site;
    const scope = `${root.name}/flash_attention`;
    const op = (name: string, type: string, input: string[], attr: Record<string, AttrValue>): string =>
      this.node(helpers, `${scope}/${name}`, type, input, attr);
    const build = (expression: Expression): string => {
      if (expression.kind === 'op') {
        const {like} = expression;
        return this.node(helpers, `${like.name}/visible`, like.op, expression.inputs.map(build), like.attr ?? {});
      }
      return expression.port!.ref;
    };

    const floats = {T: attrOf.type('DT_FLOAT')};
    let bias: string | undefined;
    for (const term of [...site.bias].sort((a, b) => Number(a.negative) - Number(b.negative))) {
      let ref = build(term.expression);
      for (const step of term.scaledBy) ref = op('scaled', step.node.op, [ref, step.by.ref], step.node.attr ?? {});
      if (bias === undefined) bias = term.negative ? op('negated', 'Neg', [ref], floats) : ref;
      else bias = op('bias', term.negative ? 'Sub' : 'AddV2', [bias, ref], floats);
    }
    let mask: string | undefined;
    for (const {expression, inverted} of site.keep) {
      const ref = inverted ? op('kept', 'LogicalNot', [build(expression)], {}) : build(expression);
      mask = mask === undefined ? ref : op('mask', 'LogicalAnd', [mask, ref], {});
    }

    let factor: string | undefined;
    for (const {by, divides} of site.perHead) {
      const ref = divides ? op('reciprocal', 'Reciprocal', [by.ref], floats) : by.ref;
      factor = factor === undefined ? ref : op('factor', 'Mul', [factor, ref], floats);
    }

    let query = site.q.port.ref;
    for (const step of site.factors) query = op('query', step.node.op, [query, step.by.ref], step.node.attr ?? {});

    const names = letterNames(site);
    const spell = (axes: Axes): string => axes.map(axis => spelled(axis, names)).join('');
    const {q, k, v} = site;
    const optional = Object.entries({bias, mask, factor}).filter(([, ref]) => ref !== undefined);
    const roles = ['q', 'k', 'v', ...optional.map(([role]) => role)];
    const sizes = [...site.sizes].map(([letter, size]) => `${names.get(letter)}=${size}`).join(',');
    const controls = new Set([root, ...site.interior].flatMap(({input}) => (input ?? []).filter(isControl)));
    const tensors = [query, k.port.ref, v.port.ref, ...optional.map(([, ref]) => ref!)];
    const node: NodeDef = {
      name: root.name,
      op: FLASH_ATTENTION_OP,
      input: [...tensors, ...controls],
      attr: {
        equation: attrOf.string(`${spell(q.axes)},${spell(k.axes)},${spell(v.axes)}->${spell(site.output)}`),
        scores: attrOf.string(spell([...site.batch, site.i, site.j])),
        roles: attrOf.string(roles.join(',')),
        scale: attrOf.float(site.scale),
        ...(sizes && {sizes: attrOf.string(sizes)}),
        ...(site.softcap > 0 && {softcap: attrOf.float(site.softcap)}),
        ...(site.causal !== null && {causal: attrOf.bool(true)}),
        ...(typeof site.causal === 'number' && {query_offset: attrOf.int(site.causal)}),
        ...(site.ahead && {
          ahead: attrOf.float(site.ahead.value),
          ahead_scores: attrOf.bool(site.ahead.scores),
          ahead_bias: attrOf.bool(site.ahead.bias),
        }),
        ...(mask !== undefined && {mask_is_infinite: attrOf.bool(site.keepIsExact)}),
        ...floats,
      },
    };
    const inputs = `${spell(q.axes)},${spell(k.axes)}`;
    const shapes = site.shapedAsProduct.flatMap(scores =>
      this.graph.consumers(scores).filter(({op: reader}) => reader === 'Shape').map((reader): [NodeDef, NodeDef] => [reader, {
        name: reader.name, op: SCORES_SHAPE_OP, input: [q.port.ref, k.port.ref, ...(reader.input ?? []).filter(isControl)],
        attr: {equation: attrOf.string(`${inputs}->${spell(site.productAxes)}`)},
      }])); // prettier-ignore
    return {node, shapes, helpers};
  }

  /** The name of a node that does this, made now unless it was before. */
  private node(helpers: NodeDef[], name: string, op: string, input: string[], attr: Record<string, AttrValue>): string {
    const key = `${name}|${op}|${input.join('|')}`;
    let node = this.made.get(key);
    if (!node) {
      let free = name;
      for (let n = 1; this.graph.node(free) || this.names.has(free); n++) free = `${name}_${n}`;
      this.names.add(free);
      node = {name: free, op, input, attr};
      this.made.set(key, node);
    }
    if (!helpers.includes(node)) helpers.push(node);
    return node.name;
  }
}

/** Plain letters for the file: i, j, d, c as everywhere, b and h for batch and heads, the alphabet's rest for more. */
function letterNames(site: Attention): Map<string, string> {
  const names = new Map([[site.i, 'i'], [site.j, 'j'], [site.d, 'd'], [site.c, 'c'], ['*', '*']]); // prettier-ignore
  const free = Array.from('bhefgmnopqrstuvwxyz');
  for (const letter of site.batch.flatMap(axis => [...axis]))
    if (!names.has(letter)) names.set(letter, free.shift() ?? '?');
  return names;
}

function spelled(axis: string, names: ReadonlyMap<string, string>): string {
  if (axis === '') return '1';
  const letters = [...axis].map(letter => names.get(letter) ?? '?').join('');
  return letters.length > 1 ? `(${letters})` : letters;
}
