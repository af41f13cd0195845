/**
 * What a backend brings: a way to run the kernels, and a plain answer to "can you serve this call?". `register.ts` holds the
 * order in which the implementations of a backend are asked; `composed` closes every list.
 */
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../kernels/problem';
import type {OnChip} from '../../kernels/tiling';
import type {AttentionResult, BackwardCall, ForwardCall} from '../op/kernels';

/** What an implementation would do for a call, for `explain`; no work is done. */
export interface Plan {
  /** Of an implementation with several kernels: the one that serves. */
  kernel?: string;
  /** Named tile sizes, such as {queries: 64, keys: 32}. */
  tiles: Record<string, number>;
  /** How often the keys of a key head are read from main memory; default 1. */
  keyReadings?: number;
  /** Bytes of each array that the kernel itself keeps near the arithmetic, by name: of one workgroup or thread. */
  onChip?: OnChip;
  /** Bytes held at once besides the inputs and the outputs. */
  extraBytes: number;
  /** The scores pass through main memory, block by block; absent where they stay on chip. */
  scoresInMainMemory?: boolean;
  /** Of an implementation with several kernels: the others, and why they do not serve. */
  passedOver?: Array<{name: string; reason: string}>;
}

export interface Implementation {
  /** Unique; `explain` and the tests call it by this name. */
  name: string;
  /** Null where it can serve the call, else the reason in one clause; cheap, and depends on the call and the device alone. */
  unsupported(problem: AttentionProblem, backend: KernelBackend): string | null;
  /** Serves only the calls that it is best at: passing it over is no news to the user. */
  isSpecialized?: true;
  forward(call: ForwardCall, backend: KernelBackend): AttentionResult<TensorInfo>;
  /** The gradients named by `call.wanted`, in the order that `FlashAttentionGrad` documents. */
  backward(call: BackwardCall, backend: KernelBackend): TensorInfo[];
  /** Softmax over the last axis of [rows, classes]; absent where `composed` does it. */
  onlineSoftmax?: (logits: TensorInfo, backend: KernelBackend) => TensorInfo;
  plan(problem: AttentionProblem, backend: KernelBackend): Plan;
}

/** The reason of those that were not asked. */
export const preferred = (name: string): string => `'${name}' serves the call and is preferred`;
