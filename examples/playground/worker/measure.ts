/** Examines one call: the plan, then whether it is right, and only then memory, time and the roofs it works under. */
import * as tf from '@tensorflow/tfjs-core';
import {explain} from 'tfjs-flash-attention';
import type {Roofs, Settings, Tell} from '../messages';
import {compare} from './agreement';
import type {Chain} from './contestants';
import {chainRefusal, flash, makeChain} from './contestants';
import {makeInputs} from './inputs';
import type {Inputs} from './inputs';
import {measureRoofs} from './machine';
import {heldMemory} from './memory';
import {timeInTurn} from './timing';

const STAGES = ['making q, k and v', 'comparing the results', 'looking at memory', 'timing', 'measuring the device'];
const BUDGET_MS = 3000;

let roofs: Roofs | null = null;

export async function measure(settings: Settings, tell: Tell): Promise<void> {
  const stage = (n: number): void => tell({kind: 'doing', what: STAGES[n], done: n, of: STAGES.length});
  stage(0);
  const inputs = makeInputs(settings);
  const noChain = chainRefusal(settings);
  const chain = noChain === null ? makeChain(inputs) : null;
  try {
    const explanation = explain(inputs.q, inputs.k, inputs.v, inputs.options);
    tell({kind: 'plan', explanation});

    stage(1);
    const agreement = await verified(inputs, chain);
    tell({kind: 'agreement', agreement, noChain});
    if (!agreement.agrees) {
      tell({kind: 'remark', text: 'The results do not agree, so nothing is timed.'});
      return;
    }

    stage(2);
    tell({kind: 'memory', held: await heldMemory(inputs, chain, explanation)});

    stage(3);
    const calls = [() => flash(inputs), ...(chain ? [() => chain.run()] : [])];
    const [ofFlash, ofChain = null] = await timeInTurn(calls, BUDGET_MS);
    tell({kind: 'times', times: {flash: ofFlash, chain: ofChain}});

    stage(4);
    roofs ??= await measureRoofs();
    const machine = {name: 'this device, as measured', bytesPerElement: 4, source: 'this page', ...roofs};
    const placed = explain(inputs.q, inputs.k, inputs.v, {...inputs.options, machine});
    tell({kind: 'roofs', roofs, explanation: placed});
  } finally {
    chain?.dispose();
    tf.dispose([inputs.q, inputs.k, inputs.v]);
  }
}

export async function verified(inputs: Inputs, chain: Chain | null): ReturnType<typeof compare> {
  const ofFlash = flash(inputs);
  const ofChain = chain?.run() ?? null;
  try {
    return await compare(inputs, ofFlash, ofChain);
  } finally {
    tf.dispose([ofFlash, ...(ofChain ? [ofChain] : [])]);
  }
}
