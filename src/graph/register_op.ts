/**
 * Serves the nodes that `fuseAttention` writes, through tfjs's registry of custom ops: a fused model.json loads with stock
 * `tf.loadGraphModel` once this module has been imported.
 */
import * as tf from '@tensorflow/tfjs-core';
import {registerOp} from '@tensorflow/tfjs-converter';
import type {GraphNode} from '@tensorflow/tfjs-converter';
import {flashAttention} from '../op/flash_attention';
import {attendLowered, causalBySums} from './causal_by_sums';
import {parseCall, runAttention, shapeOf} from './attention_call';
import type {AttentionCall, AttentionTensors} from './attention_call';
import {BAND_PART_OP, bandPart} from './band_part';
import {einsumByMatMul} from './einsum_matmul';
import {FLASH_ATTENTION_OP, SCORES_SHAPE_OP} from './emit';
import {EINSUM_MATMUL_OP} from './projections';

const calls = new Map<string, AttentionCall>();

function callOf(node: GraphNode): AttentionCall {
  const word = (name: string): string => String(node.attrs[name] ?? '');
  const key = [word('equation'), word('scores'), word('sizes')].join(';');
  let call = calls.get(key);
  if (!call) {
    call = parseCall(word('equation'), word('scores'), word('sizes'));
    calls.set(key, call);
  }
  return call;
}

/** Control inputs come after the tensors that `roles` counts. */
function tensorsOf(node: GraphNode): AttentionTensors {
  const roles = String(node.attrs.roles).split(',');
  return Object.fromEntries(roles.map((role, i) => [role, node.inputs[i]])) as unknown as AttentionTensors;
}

function run(node: GraphNode): tf.Tensor {
  const {attrs} = node;
  const lowers = attrs.mask_is_infinite !== true;
  const ahead = attrs.ahead !== undefined && {
    value: attrs.ahead as number,
    scores: attrs.ahead_scores === true,
    bias: attrs.ahead_bias === true,
  };
  return runAttention(ahead ? causalBySums(ahead) : lowers ? attendLowered : flashAttention, callOf(node), tensorsOf(node), {
    scale: attrs.scale as number,
    ...(attrs.causal === true && {causal: true}),
    ...(attrs.query_offset !== undefined && {queryOffset: attrs.query_offset as number}),
    ...(attrs.softcap !== undefined && {softcap: attrs.softcap as number}),
  }); // prettier-ignore
}

registerOp(FLASH_ATTENTION_OP, node => tf.tidy(() => run(node)));
registerOp(SCORES_SHAPE_OP, ({attrs, inputs}) =>
  tf.tensor1d(shapeOf(String(attrs.equation), inputs[0], inputs[1]), 'int32'),
);
registerOp(EINSUM_MATMUL_OP, node =>
  tf.tidy(() => einsumByMatMul(String(node.attrs.equation), node.inputs[0], node.inputs[1])),
);
registerOp(BAND_PART_OP, node => tf.tidy(() => bandPart(node.inputs[0], node.inputs[1], node.inputs[2])));
