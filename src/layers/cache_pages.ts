/** A page of the cache, and how tokens get into it where its tensors cannot be written to: a write makes new ones. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import type {Layout} from '../../kernels/options';

/** Keys and values of P neighbouring places, shared by the caches that have not written to them since they forked. */
export class Page {
  private users = 1;

  constructor(
    readonly k: Tensor,
    readonly v: Tensor,
  ) {
    tf.keep(k);
    tf.keep(v);
  }

  get isShared(): boolean {
    return this.users > 1;
  }

  share(): this {
    this.users++;
    return this;
  }

  release(): void {
    if (--this.users > 0) return;
    this.k.dispose();
    this.v.dispose();
  }
}

export interface PageWrite {
  /** Position of the page's first place, and its number of places P. */
  from: number;
  size: number;
  /** Where each sequence's first new token goes, and how many it has. */
  starts: number[];
  counts: number[];
  layout: Layout;
}

/** The page after the write. Places behind a sequence's end may hold anything: they are never seen. */
export function writePage(tokens: Tensor, old: Tensor | undefined, write: PageWrite): Tensor {
  return tf.tidy(() => {
    const written =
      old && isPartial(write) ? tf.where(placesOf(write), newPlaces(tokens, write), old) : newPlaces(tokens, write);
    return written.shape.every((n, axis) => n === pageShape(tokens, write)[axis])
      ? written
      : spread(written, tokens, write);
  });
}

/** Does some place of the page keep what it holds? */
function isPartial({from, size, starts, counts}: PageWrite): boolean {
  return starts.some((start, b) => start > from || start + counts[b] < from + size);
}

/** What the write puts on the page, in the page's shape or, for one token, in a shape that broadcasts to it. */
function newPlaces(tokens: Tensor, write: PageWrite): Tensor {
  const {from, size, starts, counts, layout} = write;
  const [B, second, third, D] = tokens.shape;
  const [heads, n] = layout === 'BHSD' ? [second, third] : [third, second];
  if (n === 1) return tokens;
  const [first] = starts;
  const isAligned = starts.every(start => start === first) && counts.every(count => count === counts[0]);
  if (isAligned && first <= from && first + counts[0] >= from + size) {
    const at = from - first;
    return layout === 'BHSD'
      ? tf.slice(tokens, [0, 0, at, 0], [B, heads, size, D])
      : tf.slice(tokens, [0, at, 0, 0], [B, size, heads, D]);
  }
  const sourceOf = (b: number, place: number): number => Math.min(n - 1, Math.max(0, from + place - starts[b]));
  if (layout === 'BSHD') {
    const rows = Int32Array.from({length: B * size}, (_, at) => {
      const b = Math.floor(at / size);
      return b * n + sourceOf(b, at % size);
    });
    return tf.reshape(tf.gather(tf.reshape(tokens, [B * n, heads * D]), tf.tensor1d(rows, 'int32')), [
      B,
      size,
      heads,
      D,
    ]);
  }
  const rows = Int32Array.from({length: B * heads * size}, (_, at) => {
    const head = Math.floor(at / size);
    return head * n + sourceOf(Math.floor(head / heads), at % size);
  });
  return tf.reshape(tf.gather(tf.reshape(tokens, [B * heads * n, D]), tf.tensor1d(rows, 'int32')), [B, heads, size, D]);
}

/** bool, true at the places that are written; broadcasts to the page. */
function placesOf({from, size, starts, counts, layout}: PageWrite): Tensor {
  const isUniform = starts.every(start => start === starts[0]) && counts.every(count => count === counts[0]);
  const sequences = isUniform ? 1 : starts.length;
  const places = Uint8Array.from({length: sequences * size}, (_, at) => {
    const b = Math.floor(at / size);
    const token = from + (at % size) - starts[b];
    return Number(token >= 0 && token < counts[b]);
  });
  return tf.tensor(places, layout === 'BHSD' ? [sequences, 1, size, 1] : [sequences, size, 1, 1], 'bool');
}

function pageShape(tokens: Tensor, {size, layout}: PageWrite): number[] {
  const [B, second, third, D] = tokens.shape;
  return layout === 'BHSD' ? [B, second, size, D] : [B, size, third, D];
}

/** One token at every place of a page that is new. */
function spread(token: Tensor, tokens: Tensor, write: PageWrite): Tensor {
  return tf.broadcastTo(token, pageShape(tokens, write));
}
