/**
 * Backend `tensorflow` (tfjs-node): blocks of rows through TensorFlow's own products, which use wider vectors than WebAssembly
 * has. Only attention without options: each would cost passes over the block, and the WebAssembly kernels do them in
 * registers; causal, they do half of the work.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, Tensor3D, TensorInfo} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../kernels/problem';
import type {AttentionResult, BackwardCall, ForwardCall} from '../op/kernels';
import type {Implementation} from './implementation';

/** Rows of a block where there are several; one block alone may have more. */
const BLOCK_ROWS = 256;
const MOST_ROWS = 512;
/** Scores of one block may take this much of the cache; with many heads a block takes fewer of them. */
const BLOCK_BYTES = 4 * 2 ** 20;
/** Multiply-adds from which TensorFlow's products make up for what its ops cost to call, three to five of them a block. */
const WORTH_CALLING = 2 ** 22;
/** D + Dv from which the products weigh more than TensorFlow's passes for the softmax. */
const WIDE = 64;

export const blocked: Implementation = {
  name: 'blocked',
  isSpecialized: true,
  unsupported: problem => unsupportedOption(problem),
  forward: call => tidied(() => forward(call)),
  backward: call => tidied(() => backward(call)),
  plan: problem => {
    const {Sk} = problem;
    const {heads, rows} = blockSize(problem);
    return {tiles: {queries: rows, keys: Sk}, extraBytes: 3 * 4 * heads * rows * Sk, scoresInMainMemory: true};
  },
};

/** A tidy for kernels: what tfjs hands a kernel and wants back are tensors, only its types say TensorInfo. */
function tidied<T>(f: () => T): T {
  return tf.tidy(() => f() as tf.TensorContainer) as T;
}

function unsupportedOption(problem: AttentionProblem): string | null {
  const {B, H, Sk, Sq, D, Dv, windowLeft, windowRight} = problem;
  if (B * H * Sq * Sk * (D + Dv) < WORTH_CALLING && Sq > 1) return 'so small a call is done by the WebAssembly kernels';
  if (D + Dv < WIDE) return 'heads this narrow are done by the WebAssembly kernels';
  const absent = (has: unknown, name: string): string | null =>
    has ? `${name} is done by the WebAssembly kernels` : null;
  return (
    absent(problem.bias, 'a bias') ??
    absent(problem.mask, 'a mask') ??
    absent(problem.alibi !== 'none', 'ALiBi') ??
    absent(problem.softcap > 0, 'a soft cap') ??
    absent(problem.dropout > 0, 'dropout') ??
    absent(problem.hasKeyLengths, 'keyLengths') ??
    absent(problem.hasSegments, 'segmentIds') ??
    absent(problem.hasSinks, 'sinks') ??
    absent(windowLeft >= 0 || windowRight >= 0, 'causal or a window')
  );
}

/** Rows of [B · Hkv, group · Sq], against all keys. */
interface Block {
  head: number;
  heads: number;
  first: number;
  rows: number;
}

function blockSize({B, H, Hkv, Sq, Sk}: AttentionProblem): {heads: number; rows: number} {
  const allRows = (H / Hkv) * Sq;
  const fitsWhole = 4 * B * H * Sq * Sk <= BLOCK_BYTES && allRows <= MOST_ROWS;
  const rows = fitsWhole ? allRows : Math.min(BLOCK_ROWS, allRows);
  const heads = Math.max(1, Math.min(B * Hkv, Math.floor(BLOCK_BYTES / (4 * rows * Sk))));
  return {heads, rows};
}

function* blocksOf(problem: AttentionProblem): Generator<Block> {
  const {B, H, Hkv, Sq} = problem;
  const allRows = (H / Hkv) * Sq;
  const size = blockSize(problem);
  for (let head = 0; head < B * Hkv; head += size.heads) {
    const heads = Math.min(size.heads, B * Hkv - head);
    for (let first = 0; first < allRows; first += size.rows) {
      yield {head, heads, first, rows: Math.min(size.rows, allRows - first)};
    }
  }
}

const cut = (x: Tensor3D, head: number, heads: number, from: number, to: number): Tensor3D => {
  const whole = heads === x.shape[0] && to - from === x.shape[1];
  return whole ? x : tf.slice(x, [head, from, 0], [heads, to - from, x.shape[2]]);
};
const rowsOf = (x: Tensor3D, {head, heads, first, rows}: Block): Tensor3D => cut(x, head, heads, first, first + rows);
const keysOf = (x: Tensor3D, {head, heads}: Block): Tensor3D => cut(x, head, heads, 0, x.shape[1]);

/** q, k, v or what has their shape, as [B · Hkv, rows, width]. */
function fold(problem: AttentionProblem, x: TensorInfo, heads: number): Tensor3D {
  const tensor = x as Tensor;
  const headsFirst = problem.layout === 'BHSD' ? tensor : tf.transpose(tensor, [0, 2, 1, 3]);
  const {B, Hkv} = problem;
  const [, , length, width] = headsFirst.shape as number[];
  return tf.reshape(headsFirst, [B * Hkv, (heads / Hkv) * length, width]);
}

function unfold({B, layout}: AttentionProblem, x: Tensor, heads: number, length: number): Tensor {
  const width = x.shape[x.shape.length - 1];
  const headsFirst = tf.reshape(x, [B, heads, length, width]);
  return layout === 'BHSD' ? headsFirst : tf.transpose(headsFirst, [0, 2, 1, 3]);
}

function forward({problem, inputs, ignoresLse}: ForwardCall): AttentionResult<TensorInfo> {
  const {B, H, Hkv, Sq, layout} = problem;
  const {heads, rows: blockRows} = blockSize(problem);
  const isOneBlock = heads === B * H && blockRows === Sq;
  if (ignoresLse && isOneBlock && layout === 'BHSD') {
    // No reshapes: at this size every op counts.
    const [q, k, v] = [inputs.q, inputs.k, inputs.v] as Tensor[];
    const weights = tf.softmax(tf.matMul(tf.mul(q, problem.scale), k, false, true));
    return {output: tf.matMul(weights, v), lse: tf.zeros([B, H, Sq]), lseLow: tf.zeros([B, H, Sq])};
  }
  const q = tf.mul<Tensor3D>(fold(problem, inputs.q, H), problem.scale);
  const k = fold(problem, inputs.k, Hkv);
  const v = fold(problem, inputs.v, Hkv);
  const parts = Array.from(blocksOf(problem), block =>
    tf.tidy(() => (ignoresLse ? [softmaxBlock(q, k, v, block)] : lseBlock(q, k, v, block))),
  );
  const rows = (n: number): Tensor => tf.reshape(joined(problem, parts.map(part => part[n])), [B, H, Sq]); // prettier-ignore
  return {
    output: unfold(problem, joined(problem, parts.map(part => part[0])), H, Sq), // prettier-ignore
    lse: ignoresLse ? tf.zeros([B, H, Sq]) : rows(1),
    lseLow: ignoresLse ? tf.zeros([B, H, Sq]) : rows(2),
  };
}

/** TensorFlow's softmax is one op, but does not tell what it divided by. */
function softmaxBlock(q: Tensor3D, k: Tensor3D, v: Tensor3D, block: Block): Tensor {
  const scores = tf.matMul(rowsOf(q, block), keysOf(k, block), false, true);
  return tf.matMul(tf.softmax(scores), keysOf(v, block));
}

/** Output, lse and lseLow of a block. */
function lseBlock(q: Tensor3D, k: Tensor3D, v: Tensor3D, block: Block): Tensor[] {
  const scores = tf.matMul(rowsOf(q, block), keysOf(k, block), false, true);
  const rowMax = tf.max(scores, -1, true);
  const weights = tf.exp(tf.sub(scores, rowMax));
  const rowSum = tf.sum(weights, -1, true);
  const logSum = tf.log(rowSum);
  const lse = tf.add(rowMax, logSum);
  const output = tf.div(tf.matMul(weights, keysOf(v, block)), rowSum);
  return [output, lse, tf.add(tf.sub(rowMax, lse), logSum)];
}

/** Blocks side by side again: rows within heads, heads one after the other. */
function joined(problem: AttentionProblem, parts: Tensor[]): Tensor {
  const {rows} = blockSize(problem);
  const perHead = Math.ceil(((problem.H / problem.Hkv) * problem.Sq) / rows);
  const bands: Tensor[] = [];
  for (let n = 0; n < parts.length; n += perHead) bands.push(concat(parts.slice(n, n + perHead), 1));
  return concat(bands, 0);
}

const concat = (parts: Tensor[], axis: number): Tensor => (parts.length === 1 ? parts[0] : tf.concat(parts, axis));

function backward({problem, inputs, saved, wanted}: BackwardCall): TensorInfo[] {
  const {B, H, Hkv, Sq, Sk, scale} = problem;
  const rows = (H / Hkv) * Sq;
  const column = (x: Tensor): Tensor3D => tf.reshape(x, [B * Hkv, rows, 1]);
  const q = tf.mul<Tensor3D>(fold(problem, inputs.q, H), scale);
  const k = fold(problem, inputs.k, Hkv);
  const v = fold(problem, inputs.v, Hkv);
  const dOutput = fold(problem, saved.dOutput, H);
  const delta = tf.sum(tf.mul(dOutput, fold(problem, saved.output, H)), -1, true);
  // Columns that take −lse and −delta into the products, instead of a pass over the block for each.
  const ones = tf.ones<tf.Rank.R3>([B * Hkv, Sk, 1]);
  const minusLse = [saved.lse, saved.lseLow].map(x => tf.neg<Tensor3D>(column(x as Tensor)));
  const q1 = tf.concat<Tensor3D>([q, ...minusLse], 2);
  const k1 = tf.concat([k, ones, ones], 2);
  const dOutput1 = tf.concat<Tensor3D>([dOutput, tf.sub<Tensor3D>(column(saved.dLse as Tensor), delta)], 2);
  const v1 = tf.concat([v, ones], 2);

  /** p and ds of a block. */
  const gradients = (block: Block): {weights: Tensor; dScores: Tensor} => {
    const weights = tf.exp(tf.matMul(rowsOf(q1, block), keysOf(k1, block), false, true));
    const dWeights = tf.matMul(rowsOf(dOutput1, block), keysOf(v1, block), false, true);
    return {weights, dScores: tf.mul(weights, dWeights)};
  };

  if (wanted === 'q') {
    const parts = Array.from(blocksOf(problem), block =>
      tf.tidy(() => tf.matMul(gradients(block).dScores, keysOf(k, block))),
    );
    return [unfold(problem, tf.mul(joined(problem, parts), scale), H, Sq)];
  }

  const dks: Tensor[] = [];
  const dvs: Tensor[] = [];
  let sums: Tensor[] = [];
  for (const block of blocksOf(problem)) {
    const before = block.first === 0 ? [] : sums;
    sums = tf.tidy(() => {
      const {weights, dScores} = gradients(block);
      const parts = [tf.matMul(dScores, rowsOf(q, block), true), tf.matMul(weights, rowsOf(dOutput, block), true)];
      return parts.map((part, n) => (before.length > 0 ? tf.add(before[n], part) : part));
    });
    tf.dispose(before);
    if (block.first + block.rows === rows) {
      dks.push(sums[0]);
      dvs.push(sums[1]);
    }
  }
  return [dks, dvs].map(parts => unfold(problem, concat(parts, 0), Hkv, Sk));
}
