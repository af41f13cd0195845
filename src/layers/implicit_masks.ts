/**
 * Carries the masks of Embedding (maskZero) and Masking to the attention layers downstream. tfjs-layers hands a layer no more
 * than the mask of its first input (and an outdated one where there is none), loses a tensor's mask on its way through the
 * next layer, and joins masks wrongly in Add. The layers upstream of an attention layer are therefore made to note, for each
 * tensor they return, the mask that Keras gives it.
 */
import {Tensor, cast, logicalAnd} from '@tensorflow/tfjs-core';
import type {SymbolicTensor, layers} from '@tensorflow/tfjs-layers';
import {asList} from './call_inputs';
import {untaped} from '../op/tape';

type Layer = layers.Layer;

const masks = new WeakMap<Tensor, Tensor>();
const followed = new WeakSet<Layer>();
const walked = new WeakSet<SymbolicTensor>();

/** Layers of several inputs, one place of the output for one place of each: their masks are joined. */
const ELEMENTWISE = new Set(['Add', 'Subtract', 'Multiply', 'Average', 'Maximum', 'Minimum']);

/** The tensor's mask as bool, of its shape without the last axis; undefined where it has none. */
export function maskOf(x: Tensor): Tensor | undefined {
  const mask = masks.get(x) ?? x.kerasMask;
  return mask && !mask.isDisposed ? cast(mask, 'bool') : undefined;
}

/** Makes every layer on the way to these tensors note masks; done at each symbolic call of an attention layer. */
export function followMasks(tensors: SymbolicTensor[]): void {
  const waiting = [...tensors];
  while (waiting.length > 0) {
    const tensor = waiting.pop()!;
    if (walked.has(tensor)) continue;
    walked.add(tensor);
    follow(tensor.sourceLayer);
    waiting.push(...tensor.inputs);
  }
}

function follow(layer: Layer): void {
  if (followed.has(layer) || !layer.supportsMasking) return;
  followed.add(layer);
  const apply = layer.apply.bind(layer);
  layer.apply = (inputs, kwargs) => {
    // Read before the call: tfjs takes the mask from a tensor that a layer returns unchanged.
    const given = asList(inputs).map(x => (x instanceof Tensor ? maskOf(x) : undefined));
    const outputs = apply(inputs, kwargs);
    const [output] = asList(outputs);
    if (output instanceof Tensor) {
      const mask = untaped(() => outputMask(layer, inputs as Tensor | Tensor[], given));
      if (mask) masks.set(output, mask);
    }
    return outputs;
  };
}

function outputMask(layer: Layer, inputs: Tensor | Tensor[], given: Array<Tensor | undefined>): Tensor | undefined {
  const present = given.filter(mask => mask !== undefined);
  if (ELEMENTWISE.has(layer.getClassName())) {
    return present.length === 0 ? undefined : present.reduce((a, b) => logicalAnd(a, b));
  }
  // A layer of several inputs can only say something about masks that are there.
  if (given.length > 1 && present.length === 0) return undefined;
  const forLayer = given.length === 1 ? given[0] : given;
  const mask = layer.computeMask(
    asList(inputs).length === 1 ? asList(inputs)[0] : inputs,
    forLayer as Tensor | Tensor[],
  );
  return asList(mask)[0] ?? undefined;
}
