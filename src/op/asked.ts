/** Which inputs of a recorded op a gradient is asked for: tfjs knows, but tells a gradient function only by what it calls, one by one. */
import {engine} from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';

/** A node of tfjs's tape. */
interface TapeNode {
  inputs: Record<string, Tensor>;
  outputs: Tensor[];
  gradient?: (dys: Tensor[]) => unknown;
}

/**
 * Call it right after the op has run. Before its gradient function runs, `attrs.asked` becomes the names of the inputs (places in
 * their list) that a gradient is asked for: tfjs calls a node's gradient as a method of a copy pruned to them.
 */
export function noteAsked(output: Tensor, attrs: {asked?: string[]}): void {
  const tape = engine().state.activeTape as TapeNode[] | undefined;
  const node = tape?.[tape.length - 1];
  const gradient = node?.gradient;
  if (!gradient || node.outputs[0] !== output) return; // not recorded
  node.gradient = function (this: TapeNode, dys) {
    attrs.asked = Object.keys(this.inputs);
    return gradient(dys);
  };
}
