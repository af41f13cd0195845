/** tfjs-node's own implementations, best first: a module of its own, which the script for pages leaves out. */
import type {Implementation} from './backends/implementation';
import {blocked} from './backends/node';
import {nodeSimd} from './backends/wasm';

export const nodeImplementations: readonly Implementation[] = [blocked, nodeSimd];
