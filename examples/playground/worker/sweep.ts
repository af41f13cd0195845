/** The two curves over N: each length is verified, then timed, and told at once. */
import * as tf from '@tensorflow/tfjs-core';
import type {CurvePoint, Settings, Tell} from '../messages';
import {chainRefusal, flash, makeChain} from './contestants';
import {makeInputs} from './inputs';
import {verified} from './measure';
import {timeInTurn} from './timing';

const BUDGET_MS = 1000;
/** A curve ends where a call would take longer; twice the length is four times the work. */
const LONGEST_MS = 5000;

export async function sweep(settings: Settings, sizes: number[], tell: Tell): Promise<void> {
  let chainEnd: string | null = null;
  let last: CurvePoint | null = null;
  for (const [n, N] of sizes.entries()) {
    const grows = last ? (N / last.N) ** 2 : 1;
    if (last && last.flash * grows > LONGEST_MS) {
      tell({
        kind: 'remark',
        text: `The curves end at N ${last.N}: a longer call would take over ${LONGEST_MS / 1000} s.`,
      });
      return;
    }
    const at = {...settings, N};
    let refusal: string | null = chainEnd ?? chainRefusal(at);
    if (refusal === null && last?.chain && last.chain * grows > LONGEST_MS) {
      refusal = `a call would take over ${LONGEST_MS / 1000} s`;
    }
    if (refusal !== null && chainEnd === null) {
      chainEnd = refusal;
      tell({kind: 'remark', text: `The chain ends before N ${N}: ${refusal}.`});
    }
    tell({kind: 'doing', what: `N ${N}`, done: n, of: sizes.length});
    last = await pointAt(at, refusal === null);
    tell({kind: 'point', point: last});
  }
}

async function pointAt(settings: Settings, withChain: boolean): Promise<CurvePoint> {
  const inputs = makeInputs(settings);
  const chain = withChain ? makeChain(inputs) : null;
  try {
    const {agrees, errors} = await verified(inputs, chain);
    if (!agrees)
      throw new Error(`At N ${settings.N} the results do not agree (error ${errors.flash.toExponential(1)}).`);
    const [ofFlash, ofChain] = await timeInTurn(
      [() => flash(inputs), ...(chain ? [() => chain.run()] : [])],
      BUDGET_MS,
    );
    return {N: settings.N, flash: ofFlash.ms, chain: ofChain?.ms ?? null};
  } finally {
    chain?.dispose();
    tf.dispose([inputs.q, inputs.k, inputs.v]);
  }
}
