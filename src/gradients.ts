/**
 * Gradient configurations. q, k, v, bias and sinks have gradients; each group is computed when tfjs asks for its first member,
 * so a gradient that nobody asks for costs nothing.
 */
import {engine, keep, mul, sub, sum, tidy, zeros, zerosLike} from '@tensorflow/tfjs-core';
import type {GradConfig, NamedAttrMap, Tensor} from '@tensorflow/tfjs-core';
import type {InputName} from '../kernels/problem';
import {composedBackward, composedForward} from './backends/composed';
import {asAttrMap, asInputMap, FlashAttention, FlashAttentionGrad, nameInputs, OnlineSoftmax} from './op/kernels';
import type {FlashAttentionAttrs, FlashAttentionGradAttrs, WantedGradient} from './op/kernels';
import {isGradientTaped} from './op/tape';

export const flashAttentionGradient: GradConfig = {
  kernelName: FlashAttention,
  saveAllInputs: true,
  outputsToSave: [true, true, true],
  gradFunc: (dys, saved, attrs: NamedAttrMap) => {
    const {problem, inputNames, asked} = attrs as unknown as FlashAttentionAttrs;
    const {inputs, rest} = nameInputs(inputNames, saved);
    const [output, lse, lseLow] = rest;
    const [dOutput, dLse] = dys as Tensor[];
    const taped = isGradientTaped();
    const usesDq = asked?.includes(String(inputNames.indexOf('q'))) ?? true;

    const gradients = (wanted: WantedGradient): Tensor[] => {
      if (taped) {
        // tfjs records the saved copy of an output before the op itself, so no gradient flows back through it
        // (tf.exp's second derivative fails for the same reason): the output is computed again from the inputs.
        return composedBackward(problem, inputs, {...composedForward(problem, inputs), dOutput, dLse}, wanted);
      }
      const list = [...inputNames.map(name => inputs[name]!), output, lse, lseLow, dOutput, dLse];
      const gradAttrs: FlashAttentionGradAttrs = {problem, inputNames, wanted, usesDq};
      return engine().runKernel(FlashAttentionGrad, asInputMap(list), asAttrMap(gradAttrs)) as unknown as Tensor[];
    };

    // dk and dv (and dq, where it falls off with them) come from one kernel, but tfjs asks for them one by one and disposes what
    // a closure does not return. The others wait among the tape's saved tensors, which tfjs disposes with the tape whether or
    // not they are asked for.
    const waiting: {v?: Tensor; q?: Tensor} = {};
    const gradientOfKeys = (): Tensor => {
      const [dk, dv, dq] = gradients('kv') as [Tensor, Tensor, Tensor?];
      if (!taped) {
        Object.assign(waiting, {v: keep(dv), q: dq && keep(dq)});
        saved.push(dv, ...(dq ? [dq] : []));
      }
      return dk;
    };
    const takeWaiting = (name: 'v' | 'q'): Tensor | null => {
      const found = waiting[name]?.clone() ?? null;
      waiting[name]?.dispose();
      return found;
    };
    const gradientOf = (name: InputName): Tensor => {
      switch (name) {
        case 'k':
          return gradientOfKeys();
        case 'v':
          return takeWaiting('v') ?? gradients('kv')[1];
        case 'q':
          return takeWaiting('q') ?? gradients('q')[0];
        case 'bias':
        case 'sinks':
          return gradients(name)[0];
        default:
          return zeros(inputs[name]!.shape); // a constant, as tfjs treats the condition of `where`
      }
    };
    return Object.fromEntries(inputNames.map((name, n) => [n, () => gradientOf(name)]));
  },
};

export const onlineSoftmaxGradient: GradConfig = {
  kernelName: OnlineSoftmax,
  outputsToSave: [true],
  gradFunc: (dy, [softmax]) => ({
    logits: () =>
      tidy(() => {
        if (softmax.size === 0) return zerosLike(softmax); // tfjs's sum on webgl takes no empty tensor
        const weighted = mul(dy as Tensor, softmax);
        return sub(weighted, mul(sum(weighted, -1, true), softmax));
      }),
  }),
};
