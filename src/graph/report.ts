/** What the rewriter found and did, for people and programs. */
import type {Attention, Extents} from './patterns/attention';

export interface Site {
  /** The node that computes the probabilities, with its function's name in front where it is in one. */
  name: string;
  /** The ops of the three steps, such as `BatchMatMulV2 → softmax → BatchMatMulV2`. */
  pattern: string;
  fused: boolean;
  /** Why it stays as it is. */
  reason?: string;
  /** The nodes that one FlashAttention node stands for (or would). */
  nodes: string[];
  options: SiteOptions;
  /** Where the graph and the given input shapes determine them all. */
  sizes?: Extents;
}

export interface SiteOptions {
  scale?: number;
  causal?: boolean;
  /** Key position of query 0 where it is a number in the graph; otherwise the last query sees the last key. */
  queryOffset?: number;
  softcap?: number;
  bias?: boolean;
  mask?: boolean;
}

export interface Report {
  fused: number;
  skipped: number;
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
