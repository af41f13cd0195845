/** tfjs-node's own implementations, best first: a module of its own, which the script for pages leaves out. */
import type {Implementation} from './backends/implementation';
import {blocked, computesOnGpu, hasBias} from './backends/node';
import {keyBytes, nodeSimd} from './backends/wasm';

const simdOnHost: Implementation = {
  ...nodeSimd,
  unsupported: (problem, backend) => computesOnGpu(backend) ?? nodeSimd.unsupported(problem, backend),
  // Of few queries all values of k and v are read, which here is to copy them.
  plan: (problem, backend) => {
    const plan = nodeSimd.plan(problem, backend);
    return {...plan, extraBytes: plan.extraBytes + (plan.kernel === 'simd-decode' ? keyBytes(problem) : 0)};
  },
};

/** Gradients of what has a bias, mask or keyLengths are the WebAssembly kernels' even where the forward pass is TensorFlow's. */
const blockedForward: Implementation = {
  ...blocked,
  unsupported: (problem, backend) =>
    blocked.unsupported(problem, backend) ?? (hasBias(problem) ? nodeSimd.unsupported(problem, backend) : null),
  backward: (call, backend) => (hasBias(call.problem) ? nodeSimd : blocked).backward(call, backend),
};

export const nodeImplementations: readonly Implementation[] = [blockedForward, simdOnHost];
