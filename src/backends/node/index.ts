/**
 * Backend `tensorflow` (tfjs-node): blocks of rows through a graph of TensorFlow's own products, which use wider vectors than
 * WebAssembly has. What is added to the scores or hides keys is one more pass over the block. Other options would cost several, and
 * the WebAssembly kernels do them in registers; causal, they do half of the work.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../../kernels/problem';
import type {Implementation} from '../implementation';
import {backward} from './backward';
import {biasIsPerFoldedRow, biasSize, hasBias} from './bias';
import {blockSize, rowCut} from './blocks';
import {forward} from './forward';
import {computesOnGpu, missingGraph} from './session';

export {computesOnGpu, hasBias};

/** Multiply-adds from which TensorFlow's products make up for what its graph costs to call. */
const WORTH_CALLING = 2 ** 22;
/** The same with a bias, mask or keyLengths, which the WebAssembly kernels add in registers: four heads of 128 are theirs, eight are not. */
const WORTH_CALLING_BIASED = 2 ** 24;
/** D + Dv from which the products weigh more than TensorFlow's passes for the softmax. */
const WIDE = 64;
/** Arrays of a block's size that live at once: scores and weights. */
const LIVE_ARRAYS = 2;

export const blocked: Implementation = {
  name: 'blocked',
  isSpecialized: true,
  unsupported: (problem, backend) =>
    unsupportedOption(problem) ?? tooSmall(problem) ?? computesOnGpu(backend) ?? missingGraph(backend),
  forward: (call, backend) => tidied(() => forward(call, backend)),
  backward: (call, backend) => tidied(() => backward(call, backend)),
  plan: problem => {
    const {B, H, Hkv, Sq, Sk, D, Dv, layout} = problem;
    const {heads, rows} = blockSize(rowCut(problem));
    const whole = {heads: B * Hkv, rows: (H / Hkv) * Sq};
    const [takesHeads, takesRows] = [heads < whole.heads, rows < whole.rows];
    const slices = (takesHeads || takesRows ? heads * rows * D : 0) + (takesHeads ? heads * Sk * (D + Dv) : 0);
    const block = LIVE_ARRAYS * heads * rows * Sk + biasSize(problem, heads, rows) + slices;
    // The blocks' outputs are joined twice where heads and rows are cut.
    const output = B * H * Sq * Dv;
    const parts = Math.max(
      block + (takesHeads || takesRows ? output : 0),
      (Number(takesHeads) + Number(takesRows)) * output,
    );
    const turned = layout === 'BSHD' ? B * (H * Sq * (D + Dv) + Hkv * Sk * (D + Dv)) : 0;
    const extraBytes = 4 * (parts + turned);
    const tiles = {queries: rows, keys: Sk, heads};
    return {tiles, keyReadings: Math.ceil(rowCut(problem).length / rows), extraBytes, scoresInMainMemory: true};
  },
};

/** A tidy for kernels: what tfjs hands a kernel and wants back are tensors, only its types say TensorInfo. */
function tidied<T>(f: () => T): T {
  return tf.tidy(() => f() as tf.TensorContainer) as T;
}

function unsupportedOption(problem: AttentionProblem): string | null {
  const {windowLeft, windowRight} = problem;
  const absent = (has: unknown, name: string): string | null =>
    has ? `${name} is done by the WebAssembly kernels` : null;
  return (
    absent(biasIsPerFoldedRow(problem), 'a bias or mask per row of grouped heads') ??
    absent(problem.alibi !== 'none', 'ALiBi') ??
    absent(problem.softcap > 0, 'a soft cap') ??
    absent(problem.dropout > 0, 'dropout') ??
    absent(problem.hasSegments, 'segmentIds') ??
    absent(problem.hasSinks, 'sinks') ??
    absent(windowLeft >= 0 || windowRight >= 0, 'causal or a window')
  );
}

function tooSmall(problem: AttentionProblem): string | null {
  const {B, H, Sk, Sq, D, Dv} = problem;
  const multiplyAdds = B * H * Sq * Sk * (D + Dv);
  const isSmall = hasBias(problem) ? multiplyAdds < WORTH_CALLING_BIASED : multiplyAdds < WORTH_CALLING && Sq > 1;
  if (isSmall) return 'so small a call is done by the WebAssembly kernels';
  return D + Dv < WIDE ? 'heads this narrow are done by the WebAssembly kernels' : null;
}
