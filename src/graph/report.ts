/** What the rewriter found and did, for people and programs. */
import type {Attention, Extents} from './patterns/attention';

/** One softmax between two products, fused or not. */
export interface Site {
  /** The node that computes the probabilities, with its function's name in front where it is in one. */
  name: string;
  /** The ops of the three steps, such as `BatchMatMulV2 → softmax → BatchMatMulV2`. */
  pattern: string;
  /** Whether one node stands in its place now. */
  fused: boolean;
  /** Where it is not fused: why it stays as it is. */
  reason?: string;
  /** The nodes that one FlashAttention node stands for (or would). */
  nodes: string[];
  /** What the attention does beside softmax(q·kᵀ)·v. */
  options: SiteOptions;
  /** Where the graph and the given input shapes determine them all, as for `flashAttention`. */
  sizes?: Extents;
}

/** The options of `flashAttention` that a site became. */
export interface SiteOptions {
  /** Factor on q·k. */
  scale?: number;
  /** A causal mask of the graph, now without a tensor. */
  causal?: boolean;
  /** Key position of query 0 where it is a number in the graph; otherwise the last query sees the last key. */
  queryOffset?: number;
  /** c of c·tanh(score / c). */
  softcap?: number;
  /** Whether something is added to the scores. */
  bias?: boolean;
  /** Whether a tensor hides keys. */
  mask?: boolean;
}

/** What the rewriter found. */
export interface Report {
  /** Sites that became one node. */
  fused: number;
  /** Sites that stay as they were. */
  skipped: number;
  /** In the order of the graph. */
  sites: Site[];
}

export function optionsOf(site: Attention): SiteOptions {
  return {
    scale: site.scale,
    ...(site.causal !== null && {causal: true}),
    ...(typeof site.causal === 'number' && {queryOffset: site.causal}),
    ...(site.softcap > 0 && {softcap: site.softcap}),
    ...(site.bias.length > 0 && {bias: true}),
    ...(site.keep.length > 0 && {mask: true}),
  };
}

export function reportOf(sites: Site[]): Report {
  const fused = sites.filter(site => site.fused).length;
  return {fused, skipped: sites.length - fused, sites};
}
