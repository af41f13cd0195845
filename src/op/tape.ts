/** The two questions that gradients need to ask of tfjs's tape, and for which it has no public function. */
import {engine} from '@tensorflow/tfjs-core';

/**
 * Runs f without recording its ops: its results are constants to every gradient. tfjs stops recording inside a kernel, and
 * this says that one is running. (Comparisons have no gradient in tfjs, and a recorded one makes `tf.grad` throw.)
 */
export function untaped<T>(f: () => T): T {
  const {state} = engine();
  state.kernelDepth++;
  try {
    return f();
  } finally {
    state.kernelDepth--;
  }
}

/** Inside a gradient function: is a gradient of this gradient being taken, so that every op must be differentiable? */
export function isGradientTaped(): boolean {
  return engine().state.gradientDepth > 0;
}

/** No gradient of what runs now will be asked for: tfjs records nothing. */
export function isGradientOff(): boolean {
  return engine().state.gradientDepth === 0;
}
