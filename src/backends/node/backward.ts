/**
 * Gradients of attention without options, block by block: scores recomputed, p = exp(score − lse) (FlashAttention, Dao et al.
 * 2022, algorithm 4). A block is some keys against all rows of some heads, one run of the graph.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {KernelBackend, Tensor, Tensor3D, TensorInfo} from '@tensorflow/tfjs-core';
import type {BackwardCall, WantedGradient} from '../../op/kernels';
import {allOf, blocksOf, concat, fold, joined, keyCut, rowsOf, unfold} from './blocks';
import type {Block} from './blocks';
import {runGraph} from './session';

/** exp(score) is taken as it is where every |lse| is at most this: then no weight overflows, nor any row as a whole underflows. */
const GREATEST_LSE = 40;

/** [dq], [dk, dv] or [dk, dv, dq]: with dk and dv, dq takes one product more; alone it takes three and the exponential. */
export function backward(call: BackwardCall, backend: KernelBackend): TensorInfo[] {
  const lse = (call.saved.lse as Tensor).dataSync();
  // Not `some`: a NaN must fail, too.
  if (lse.every(x => Math.abs(x) <= GREATEST_LSE)) {
    const gradients = tf.tidy(() => gradientsOf(call, unshifted(call, backend), backend, true));
    if (gradients.length > 0) return gradients;
  }
  return gradientsOf(call, shifted(call, backend), backend, false);
}

/** [B · Hkv, length, ·] each, by the names that they have in the graph. */
interface Operands {
  scaledQ: Tensor3D;
  k: Tensor3D;
  v1: Tensor3D;
  rows: Tensor3D;
  keys: Tensor3D;
  dOutputRows: Tensor3D;
  dOutput1Rows: Tensor3D;
}

function unshifted(call: BackwardCall, backend: KernelBackend): Operands {
  const fed = foldAll(call);
  const names = ['scaledQ', 'v1', 'dOutputScaled', 'dOutput1Scaled'] as const;
  const {scaledQ, v1, dOutputScaled, dOutput1Scaled} = threeAxes(runGraph(backend, fed, ...names));
  return {scaledQ, k: fed.k, v1, rows: scaledQ, keys: fed.k, dOutputRows: dOutputScaled, dOutput1Rows: dOutput1Scaled};
}

function shifted(call: BackwardCall, backend: KernelBackend): Operands {
  const fed = foldAll(call);
  const names = ['scaledQ', 'v1', 'qShifted', 'kShifted', 'dOutput1'] as const;
  const {scaledQ, v1, qShifted, kShifted, dOutput1} = threeAxes(runGraph(backend, fed, ...names));
  return {scaledQ, k: fed.k, v1, rows: qShifted, keys: kShifted, dOutputRows: fed.dOutput, dOutput1Rows: dOutput1};
}

function threeAxes<Name extends string>(tensors: Record<Name, Tensor>): Record<Name, Tensor3D> {
  return tensors as Record<Name, Tensor3D>;
}

function foldAll({problem, inputs, saved}: BackwardCall) {
  const {B, H, Hkv, Sq} = problem;
  const column = (x: TensorInfo): Tensor3D => tf.reshape(x as Tensor, [B * Hkv, (H / Hkv) * Sq, 1]);
  return {
    q: fold(problem, inputs.q, H),
    k: fold(problem, inputs.k, Hkv),
    v: fold(problem, inputs.v, Hkv),
    scale: tf.scalar(problem.scale),
    dOutput: fold(problem, saved.dOutput, H),
    savedOutput: fold(problem, saved.output, H),
    lse: column(saved.lse),
    lseLow: column(saved.lseLow),
    dLse: column(saved.dLse),
  };
}

/** Nothing where `mustBeFinite` and something is not: a large dO met a large factor. */
function gradientsOf(
  {problem, wanted, usesDq}: BackwardCall,
  operands: Operands,
  backend: KernelBackend,
  mustBeFinite: boolean,
): Tensor[] {
  const {H, Hkv, Sq, Sk} = problem;
  const scale = tf.scalar(problem.scale);
  const names = [...(wanted === 'kv' ? OF_KEYS : []), ...(wanted === 'q' || usesDq ? OF_QUERIES : [])];
  const dqs: Tensor[] = []; // of the blocks that share rows: their sum
  const dks: Tensor[] = [];
  const dvs: Tensor[] = [];
  for (const block of blocksOf(keyCut(problem))) {
    const {dq, dk, dv, ...totals} = tf.tidy(() =>
      runGraph(backend, {...partOf(operands, block, wanted), scale}, ...names),
    );
    if (mustBeFinite && !Object.values(totals).every(total => Number.isFinite(total.dataSync()[0]))) return [];
    if (dq) dqs.push(block.first === 0 ? dq : addTo(dqs.pop()!, dq));
    if (dk && dv) {
      dks.push(dk);
      dvs.push(dv);
    }
  }
  const ofKeys = [dks, dvs].map(parts => parts.length > 0 && unfold(problem, joined(keyCut(problem), parts), Hkv, Sk));
  return [...ofKeys, dqs.length > 0 && unfold(problem, concat(dqs, 0), H, Sq)].filter(x => x !== false);
}

/** dq: the block's part; dk and dv: those of the block's keys; totals: NaN or infinite where one of them is. */
const OF_KEYS = ['dk', 'dv', 'totalOfKeys'] as const;
const OF_QUERIES = ['dq', 'totalOfQ'] as const;

function partOf(operands: Operands, block: Block, wanted: WantedGradient): Partial<Operands> {
  const k = rowsOf(operands.k, block);
  const scaledQ = allOf(operands.scaledQ, block);
  return {
    k,
    keys: operands.keys === operands.k ? k : rowsOf(operands.keys, block),
    v1: rowsOf(operands.v1, block),
    rows: operands.rows === operands.scaledQ ? scaledQ : allOf(operands.rows, block),
    dOutput1Rows: allOf(operands.dOutput1Rows, block),
    ...(wanted === 'kv' && {scaledQ, dOutputRows: allOf(operands.dOutputRows, block)}),
  };
}

function addTo(sum: Tensor, part: Tensor): Tensor {
  const added = tf.add(sum, part);
  tf.dispose([sum, part]);
  return added;
}
