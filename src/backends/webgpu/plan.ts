/** Which of WebGPU's forward kernels serves a call: each answers with a plan or the reason why not. */
import {preferred} from '../implementation';
import {fewQueriesVariant, halfVariant, matrixVariant, subgroupVariant} from './extended_plan';
import type {ForwardPlan} from './forward';
import {plainVariant} from './lane_plan';
import type {Variant} from './lane_plan';

/**
 * The kernels in order of preference. A kernel that turns out slow or wrong on some device is switched off by its line. Half the
 * bytes in workgroup memory do not pay what converting them costs where subgroups share float32 rows (test/benchmark/README.md).
 */
const PREFERRED: ReadonlyArray<readonly [name: string, variant: Variant]> = [
  ['webgpu-decode', fewQueriesVariant],
  ['webgpu-matrix', matrixVariant],
  ['webgpu-subgroups', subgroupVariant],
  ['webgpu-half', halfVariant],
  ['webgpu-plain', plainVariant],
];

/** The first kernel that serves the call; the others, with their reasons, go into its plan. */
export const bestVariant: Variant = (problem, state) => {
  const passedOver: Array<{name: string; reason: string}> = [];
  let served: ForwardPlan | undefined;
  for (const [name, variant] of PREFERRED) {
    const plan = served ? preferred(served.variant!) : variant(problem, state);
    if (typeof plan === 'string') passedOver.push({name, reason: plan});
    else served = {...plan, variant: name, passedOver};
  }
  return served ?? passedOver[passedOver.length - 1].reason;
};
