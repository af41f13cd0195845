/**
 * Keys and values of earlier tokens, in pages of a fixed size. An append writes to the page that it touches, in place where the
 * backend lets it and else as a new tensor, and leaves all others alone, so its cost does not grow with what is cached;
 * attention runs over the pages one by one and joins the parts by their log-sum-exps. Source: paged attention, Kwon et al. (2023), §4.1; Flash-Decoding (Dao et al. 2023).
 *
 * B batch, Hkv key/value heads, D and Dv widths of a head, P page size, n appended tokens.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {argumentError, shown} from '../../kernels/options';
import type {Layout} from '../../kernels/options';
import {flashAttentionWithLse} from '../op/flash_attention';
import type {AttentionWithLse} from '../op/flash_attention';
import {OWN_OPTIONS, cutKeys, offsetsOf, reachOf, shifted} from './cache_attend';
import type {CacheAttendOptions} from './cache_attend';
import {Page, writePage} from './cache_pages';
import type {PageWrite} from './cache_pages';
import {canWriteInPlace, writeInPlace} from './in_place';
import {mergeParts} from './merge_parts';

/** Sizes of a cache. */
export interface KVCacheOptions {
  /** Attention layers that share the cache. */
  layers: number;
  /** Sequences. */
  batch: number;
  /** Key/value heads. */
  heads: number;
  /** Width of a key. */
  headDim: number;
  /** Width of a value; default headDim. */
  valueDim?: number;
  /** Most tokens of one sequence. Memory is taken page by page, as tokens come. */
  capacity: number;
  /** What happens beyond the capacity: true adds pages, false (default) is an error before anything is changed. */
  grow?: boolean;
  /** Tokens of a page; default 1024 on backends where pages are written in place (cpu, wasm), else 256. */
  pageSize?: number;
  /** Axes of k, v, q and outputs: 'BHSD' (default) or 'BSHD'. */
  layout?: Layout;
}

interface CachedLayer {
  pages: Page[];
  /** Tokens by sequence; what a page holds behind them is never seen. */
  lengths: number[];
  /** Lengths before the last append, and how many tokens it had. */
  starts: number[];
  appended: number;
}

/**
 * Keys and values of earlier tokens of every attention layer, for generation token by token: `append` costs the new tokens, whatever is
 * cached; `attend` reads what is cached once. Owns its tensors until `dispose`; a `tf.tidy` around a call leaves them.
 *
 * Source: paged attention, Kwon et al. (2023), §4.1; parts joined as in Flash-Decoding (Dao et al. 2023).
 */
export class KVCache {
  // As in `KVCacheOptions`.
  readonly layout: Layout;
  readonly layers: number;
  readonly heads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly capacity: number;
  readonly pageSize: number;
  readonly grow: boolean;
  private batchSize: number;
  private cached: CachedLayer[] | null;
  private owners = new Map<object, number>();

  /** @throws Error `Argument '…' passed to 'KVCache' must …, but got …`. */
  constructor(options: KVCacheOptions) {
    const {
      layers,
      batch,
      heads,
      headDim,
      valueDim = headDim,
      capacity,
      grow = false,
      pageSize = canWriteInPlace() ? 1024 : 256,
      layout = 'BHSD',
    } = options;
    const fail = argumentError('KVCache');
    for (const [name, size] of Object.entries({layers, batch, heads, headDim, valueDim, capacity, pageSize})) {
      if (!Number.isInteger(size) || size < 1) throw fail(name, 'be an integer of at least 1', shown(size));
    }
    if (layout !== 'BHSD' && layout !== 'BSHD') throw fail('layout', `be 'BHSD' or 'BSHD'`, shown(layout));
    this.layout = layout;
    this.layers = layers;
    this.heads = heads;
    this.headDim = headDim;
    this.valueDim = valueDim;
    this.capacity = capacity;
    this.pageSize = Math.min(pageSize, grow ? pageSize : capacity);
    this.grow = grow;
    this.batchSize = batch;
    this.cached = Array.from({length: layers}, () => emptyLayer(batch));
  }

  /** Sequences; `reorder` may change their number. */
  get batch(): number {
    return this.batchSize;
  }

  /** Cached tokens of each sequence in a layer. */
  lengths(layer = 0): number[] {
    return [...this.layer('lengths', layer).lengths];
  }

  /**
   * Adds n tokens to every sequence, or fewer to some.
   * @param layer from 0.
   * @param k [B, Hkv, n, D] (or [B, n, Hkv, D], by the layout).
   * @param v the same with Dv.
   * @param options.lengths how many of the n tokens each sequence really has; the rest is padding and is not kept.
   * @throws Error `Argument '…' passed to 'KVCache.append' must …, but got …`; nothing is changed then.
   */
  append(layer: number, k: Tensor, v: Tensor, options: {lengths?: number[]} = {}): void {
    const fail = argumentError('KVCache.append');
    const target = this.layer('append', layer);
    const n = this.checkTokens('k', k, this.headDim);
    const ofValues = this.checkTokens('v', v, this.valueDim);
    if (ofValues !== n) throw fail('v', `have as many tokens as k (${n})`, v.shape);
    const counts = options.lengths ?? Array<number>(this.batch).fill(n);
    this.checkIntegers('append', 'lengths', counts, n);
    const starts = target.lengths;
    const lengths = starts.map((length, b) => length + counts[b]);
    const longest = Math.max(...lengths);
    if (longest > this.capacity && !this.grow) {
      throw fail(
        'k',
        `leave no sequence longer than the cache's capacity (${this.capacity})`,
        `${n} tokens that make ${longest}`,
      );
    }
    const pages = [...target.pages];
    const P = this.pageSize;
    for (let p = Math.floor(Math.min(...starts) / P); p * P < longest; p++) {
      const isTouched = starts.some((start, b) => counts[b] > 0 && start < (p + 1) * P && lengths[b] > p * P);
      if (!isTouched) continue;
      pages[p] = this.written(target.pages[p], k, v, {from: p * P, size: P, starts, counts, layout: this.layout});
    }
    Object.assign(target, {pages, lengths, starts, appended: n});
  }

  /**
   * Attention of queries over what a layer has cached.
   * @param q [B, H, Sq, D] (or [B, Sq, H, D]); H a multiple of Hkv.
   * @param layer from 0.
   * @param options see `CacheAttendOptions`; the last axis of mask and bias is the longest sequence's length, or 1.
   * @returns [B, H, Sq, Dv] (or [B, Sq, H, Dv]).
   * @throws Error `Argument '…' passed to 'KVCache.attend' must …, but got …`.
   */
  attend(q: Tensor, layer: number, options: CacheAttendOptions = {}): Tensor {
    const fail = argumentError('KVCache.attend');
    const source = this.layer('attend', layer);
    const {layout} = this;
    for (const name of OWN_OPTIONS) {
      if (name in options) throw fail('options', 'hold no option that the cache decides', `'${name}'`);
    }
    if (q.rank !== 4) throw fail('q', 'be a tensor of rank 4', q.shape);
    const {queryOffset, mask, bias, sinks, ...rest} = options;
    const queries = q.shape[layout === 'BHSD' ? 2 : 1]!;
    const {pages, lengths, starts, appended} = source;
    const ends = lengths.map(length => length - queries);
    const offsets = offsetsOf(queryOffset ?? (queries === appended ? starts : ends), this.batch, fail);
    const longest = Math.max(...lengths);
    const reach = reachOf(options, offsets, queries);

    return tf.tidy(() => {
      const parts: AttentionWithLse[] = [];
      pages.forEach(({k, v}, p) => {
        const from = p * this.pageSize;
        const to = Math.min(longest, from + this.pageSize);
        if (from >= longest || to <= reach.from || from > reach.to) return;
        const isDense = mask !== undefined || bias !== undefined;
        const rows = isDense ? to - from : this.pageSize;
        const hidesSome = lengths.some(length => length < from + rows);
        parts.push(
          flashAttentionWithLse(q, this.firstRows(k, rows), this.firstRows(v, rows), {
            ...rest,
            layout,
            queryOffset: shifted(offsets, from),
            ...(hidesSome && {
              keyLengths: tf.tensor1d(
                lengths.map(length => Math.max(0, length - from)),
                'int32',
              ),
            }),
            ...(mask !== undefined && {mask: cutKeys('mask', mask, 'bool', from, to, longest)}),
            ...(bias !== undefined && {bias: cutKeys('bias', bias, 'float32', from, to, longest)}),
            ...(parts.length === 0 && sinks !== undefined && {sinks}),
          }),
        );
      });
      if (parts.length > 0) return mergeParts(parts, layout);
      const none = (width: number): Tensor => tf.zeros(this.shape(0, width));
      return flashAttentionWithLse(q, none(this.headDim), none(this.valueDim), {...rest, sinks, layout, queryOffset: 0})
        .output;
    });
  }

  /**
   * Forgets all tokens behind the first `length` of every sequence (or of each its own); moves nothing.
   * @throws Error `Argument 'length' passed to 'KVCache.truncate' must …, but got …`.
   */
  truncate(length: number | number[]): void {
    const wanted = typeof length === 'number' ? Array<number>(this.batch).fill(length) : length;
    this.checkIntegers('truncate', 'length', wanted, Infinity);
    for (const layer of this.all('truncate')) {
      layer.lengths = layer.lengths.map((old, b) => Math.min(old, wanted[b]));
      layer.starts = layer.starts.map((old, b) => Math.min(old, wanted[b]));
      const kept = Math.ceil(Math.max(...layer.lengths) / this.pageSize);
      layer.pages.splice(kept).forEach(page => page.release());
    }
  }

  /**
   * Makes sequence n what sequence indices[n] is now: for beam search. Their number may change.
   * @throws Error `Argument 'indices' passed to 'KVCache.reorder' must …, but got …`.
   */
  reorder(indices: number[]): void {
    const layers = this.all('reorder');
    const ok =
      Array.isArray(indices) &&
      indices.length > 0 &&
      indices.every(n => Number.isInteger(n) && n >= 0 && n < this.batch);
    if (!ok) {
      throw argumentError('KVCache.reorder')('indices', `be a list of integers in [0, ${this.batch})`, shown(indices));
    }
    if (indices.length === this.batch && indices.every((n, b) => n === b)) return;
    const pick = (numbers: number[]): number[] => indices.map(n => numbers[n]);
    for (const layer of layers) {
      const moved = layer.pages.map(({k, v}) => new Page(takeRows(k, indices), takeRows(v, indices)));
      layer.pages.forEach(page => page.release());
      Object.assign(layer, {pages: moved, lengths: pick(layer.lengths), starts: pick(layer.starts)});
    }
    this.batchSize = indices.length;
  }

  /** A cache with the same content, to be continued otherwise: both share the pages that neither changes; nothing is copied. */
  fork(): KVCache {
    const layers = this.all('fork');
    const {batch, heads, headDim, valueDim, capacity, grow, pageSize, layout} = this;
    const copy = new KVCache({layers: this.layers, batch, heads, headDim, valueDim, capacity, grow, pageSize, layout});
    copy.cached = layers.map(layer => ({...layer, pages: layer.pages.map(page => page.share())}));
    copy.owners = new Map(this.owners);
    return copy;
  }

  /** Frees the pages that no fork still uses. The cache cannot be used afterwards. */
  dispose(): void {
    this.cached?.forEach(({pages}) => pages.forEach(page => page.release()));
    this.cached = null;
  }

  /** The place of a layer object in this cache: 0, 1, … in order of first use. */
  layerOf(owner: object): number {
    const known = this.owners.get(owner);
    if (known !== undefined) return known;
    const place = this.owners.size;
    if (place >= this.layers) {
      throw argumentError('KVCache')('layers', 'be the number of attention layers that use the cache', `${this.layers}, and one more came`); // prettier-ignore
    }
    this.owners.set(owner, place);
    return place;
  }

  /** @throws Error in the name of `caller` where a model of these sizes cannot use the cache. */
  checkSizes(caller: string, wanted: {batch: number; heads: number; headDim: number; valueDim: number}): void {
    for (const name of ['batch', 'heads', 'headDim', 'valueDim'] as const) {
      if (this[name] !== wanted[name]) {
        throw argumentError(caller)('cache', `be made with ${name} ${wanted[name]}`, `one with ${name} ${this[name]}`);
      }
    }
  }

  /** The page with the tokens on it: the old one, where it is this cache's alone and a backend can write to it. */
  private written(old: Page | undefined, k: Tensor, v: Tensor, write: PageWrite): Page {
    if (canWriteInPlace() && !old?.isShared) {
      const page =
        old ??
        new Page(tf.zeros(this.shape(write.size, this.headDim)), tf.zeros(this.shape(write.size, this.valueDim)));
      if (writeInPlace(page.k, k, write) && writeInPlace(page.v, v, write)) return page;
    }
    const page = new Page(writePage(k, old?.k, write), writePage(v, old?.v, write));
    old?.release();
    return page;
  }

  private all(method: string): CachedLayer[] {
    if (!this.cached) throw new Error(`KVCache.${method} was called on a cache that is disposed.`);
    return this.cached;
  }

  private layer(method: string, index: number): CachedLayer {
    const layers = this.all(method);
    if (!layers[index]) {
      throw argumentError(`KVCache.${method}`)('layer', `be an integer in [0, ${this.layers})`, shown(index));
    }
    return layers[index];
  }

  private shape(rows: number, width: number): [number, number, number, number] {
    return this.layout === 'BHSD' ? [this.batch, this.heads, rows, width] : [this.batch, rows, this.heads, width];
  }

  private firstRows(x: Tensor, rows: number): Tensor {
    return rows === this.pageSize ? x : tf.slice(x, [0, 0, 0, 0], this.shape(rows, x.shape[3]!));
  }

  private checkTokens(name: string, x: Tensor, width: number): number {
    const n = x.shape[this.layout === 'BHSD' ? 2 : 1];
    const ok = x.rank === 4 && x.dtype === 'float32' && tf.util.arraysEqual(x.shape, this.shape(n!, width));
    if (ok) return n!;
    const expected = this.shape(0, width).map((size, axis) => (axis === (this.layout === 'BHSD' ? 2 : 1) ? 'n' : size));
    const got = x.dtype === 'float32' ? x.shape : `a ${x.dtype} tensor`;
    throw argumentError('KVCache.append')(name, `be a float32 tensor of shape [${expected}]`, got);
  }

  private checkIntegers(method: string, name: string, list: number[], most: number): void {
    const ok =
      Array.isArray(list) && list.length === this.batch && list.every(n => Number.isInteger(n) && n >= 0 && n <= most);
    if (ok) return;
    const range = most === Infinity ? 'from 0' : `from 0 to ${most}`;
    throw argumentError(`KVCache.${method}`)(name, `be ${this.batch} integers ${range}`, shown(list));
  }
}

function emptyLayer(batch: number): CachedLayer {
  const zeros = (): number[] => Array<number>(batch).fill(0);
  return {pages: [], lengths: zeros(), starts: zeros(), appended: 0};
}

function takeRows(x: Tensor, indices: number[]): Tensor {
  return tf.tidy(() => tf.gather(x, tf.tensor1d(indices, 'int32'), 0));
}
