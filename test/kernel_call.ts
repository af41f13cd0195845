/** A case as the kernels see it, without tfjs: the validated problem and flat arrays. For tests of kernels by themselves. */
import {attentionProblem} from '../kernels/problem';
import type {ArgumentSpec, AttentionInputs, AttentionProblem} from '../kernels/problem';
import type {AttentionCase} from './cases';
import {makeInputs} from './inputs';
import type {CaseInputs} from './inputs';

export function kernelCall(
  c: AttentionCase,
  inputs: CaseInputs = makeInputs(c),
): {problem: AttentionProblem; inputs: CaseInputs} {
  const {bias: _bias, mask: _mask, alibiSlopes: _slopes, keyLengths: _lengths, ...rest} = c.options;
  const {segmentIds: _segments, sinks: _sinks, queryOffset, ...numbers} = rest;
  const options = {...numbers, layout: c.layout, ...(typeof queryOffset === 'number' && {queryOffset})};
  const specs = inputs as AttentionInputs<ArgumentSpec>;
  return {problem: attentionProblem('flashAttention', specs, options), inputs};
}
