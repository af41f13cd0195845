/** tfjs-node's own implementations, best first: a module of its own, which the script for pages leaves out. */
import type {Implementation} from './backends/implementation';
import {blocked, computesOnGpu} from './backends/node';
import {nodeSimd} from './backends/wasm';

const simdOnHost: Implementation = {
  ...nodeSimd,
  unsupported: (problem, backend) => computesOnGpu(backend) ?? nodeSimd.unsupported(problem, backend),
};

export const nodeImplementations: readonly Implementation[] = [blocked, simdOnHost];
