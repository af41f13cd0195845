/**
 * Registers every kernel and gradient, once. The lists say which implementations serve a backend, best first: a call takes
 * the first that supports it, and says so once when that is not the first of the list.
 */
import {getGradient, getKernel, registerGradient, registerKernel} from '@tensorflow/tfjs-core';
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../kernels/problem';
import {composed} from './backends/composed';
import {loops} from './backends/cpu';
import {webgpu, webgpuVariants} from './backends/webgpu';
import type {Implementation} from './backends/implementation';
import {fragments} from './backends/webgl';
import {cpuSimd, wasmSimd} from './backends/wasm';
import {flashAttentionGradient, onlineSoftmaxGradient} from './gradients';
import {FlashAttention, FlashAttentionGrad, OnlineSoftmax, readBackwardCall, readForwardCall} from './op/kernels';
import {nodeImplementations} from './register_tensorflow';

const IMPLEMENTATIONS: Record<string, readonly Implementation[]> = {
  cpu: [cpuSimd, loops, composed],
  wasm: [wasmSimd, composed],
  tensorflow: [...nodeImplementations, composed],
  webgl: [fragments, composed],
  webgpu: [webgpu, composed],
};

/** Implementations that a call takes only when they are forced. */
const VARIANTS: Record<string, readonly Implementation[]> = {webgpu: webgpuVariants};

/** An implementation that was passed over, and why. */
export interface PassedOver {
  /** The implementation's name. */
  name: string;
  /** One clause. */
  reason: string;
}

export interface Choice {
  implementation: Implementation;
  passedOver: PassedOver[];
}

let forcedName: string | null = null;

/** Makes every call use the implementation of this name, or the usual choice again (null). For tests and benchmarks. */
export function forceImplementation(name: string | null): void {
  forcedName = name;
}

/** The implementations of a backend, best first; a backend that tfjs lacks a kernel for has `composed` alone. */
export function implementationsOf(backendName: string): readonly Implementation[] {
  return IMPLEMENTATIONS[backendName] ?? [composed];
}

/** Those that may be asked for a call. */
function candidates(backendName: string): readonly Implementation[] {
  const preferred = implementationsOf(backendName);
  return forcedName === null ? preferred : [...preferred, ...(VARIANTS[backendName] ?? [])];
}

/** Which implementation serves a call, by the call and the device alone. */
export function chooseImplementation(backendName: string, problem: AttentionProblem, backend: KernelBackend): Choice {
  const {B, Sq, Sk} = problem;
  if (B * Sq * Sk === 0) return {implementation: composed, passedOver: []}; // nothing to compute: constants
  const passedOver: PassedOver[] = [];
  for (const implementation of candidates(backendName)) {
    const {name} = implementation;
    const isForced = forcedName === null || name === forcedName;
    const reason = isForced ? implementation.unsupported(problem, backend) : `'${forcedName}' is forced`;
    if (reason === null) return {implementation, passedOver};
    passedOver.push({name, reason});
  }
  throw new Error(
    `No implementation of ${FlashAttention} serves this call on backend '${backendName}': ` +
      passedOver.map(({name, reason}) => `${name} (${reason})`).join(', '),
  );
}

const warnings = new Set<string>();

function serve(backendName: string, problem: AttentionProblem, backend: KernelBackend): Implementation {
  const {implementation, passedOver} = chooseImplementation(backendName, problem, backend);
  const isSpecialized = (name: string) => implementationsOf(backendName).find(x => x.name === name)?.isSpecialized;
  const unexpected = passedOver.filter(({name}) => !isSpecialized(name));
  if (unexpected.length > 0 && forcedName === null) {
    const reasons = unexpected.map(({name, reason}) => `${name} cannot serve it: ${reason}`).join('; ');
    const message = `flashAttention on '${backendName}': a call is served by ${implementation.name}; ${reasons}.`;
    if (!warnings.has(message)) console.warn(message);
    warnings.add(message);
  }
  return implementation;
}

function registerBackend(backendName: string): void {
  registerKernel({
    kernelName: FlashAttention,
    backendName,
    kernelFunc: ({inputs, attrs, backend}) => {
      const call = readForwardCall(inputs, attrs);
      const implementation = serve(backendName, call.problem, backend as KernelBackend);
      const {output, lse, lseLow} = implementation.forward(call, backend as KernelBackend);
      return [output, lse, lseLow];
    },
  });
  registerKernel({
    kernelName: FlashAttentionGrad,
    backendName,
    kernelFunc: ({inputs, attrs, backend}) => {
      const call = readBackwardCall(inputs, attrs);
      return serve(backendName, call.problem, backend as KernelBackend).backward(call, backend as KernelBackend);
    },
  });
  registerKernel({
    kernelName: OnlineSoftmax,
    backendName,
    kernelFunc: ({inputs, backend}) => {
      const usable = candidates(backendName).filter(({name}) => forcedName === null || name === forcedName);
      const {onlineSoftmax} = usable.find(implementation => implementation.onlineSoftmax) ?? composed;
      return onlineSoftmax!(inputs.logits as TensorInfo, backend as KernelBackend);
    },
  });
}

/** What an earlier copy of this package registered in the process stays. */
function registerAll(): void {
  for (const backendName of Object.keys(IMPLEMENTATIONS)) {
    if (!getKernel(FlashAttention, backendName)) registerBackend(backendName);
  }
  if (!getGradient(FlashAttention)) registerGradient(flashAttentionGradient);
  if (!getGradient(OnlineSoftmax)) registerGradient(onlineSoftmaxGradient);
}

registerAll();
