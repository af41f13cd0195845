/** Attention's numbers published elsewhere, as cases with their inputs: ONNX's node tests of the operator Attention. */
import {attentionCase} from './cases';
import type {AttentionCase, CaseOptions} from './cases';
import onnx from './data/onnx_attention.json';
import type {CaseInputs, HostArray} from './inputs';

export interface Published {
  c: AttentionCase;
  inputs: CaseInputs;
  output: number[];
}

interface OnnxTensor {
  shape: number[];
  type?: string;
  /** Separated by blanks; `Infinity` and `NaN` as JavaScript spells them. */
  values: string;
}

interface OnnxTest {
  name: string;
  attributes: {scale?: number; softcap?: number; is_causal?: number; q_num_heads?: number; kv_num_heads?: number};
  inputs: Record<string, OnnxTensor>;
  output: OnnxTensor;
}

export const PUBLISHED: Published[] = (onnx.tests as unknown as OnnxTest[]).map(fromOnnx);

/**
 * ONNX lets query i see keys up to i, or to i plus the length of a past (a cache in front), or to i + filled − Sq where it
 * is told how much of the keys is filled. Three-axis tensors are [B, S, H·D], which is BSHD.
 */
function fromOnnx({name, attributes, inputs, output}: OnnxTest): Published {
  const {Q, K, V, attn_mask: mask, past_key: pastKey, past_value: pastValue, nonpad_kv_seqlen: filled} = inputs;
  const layout = Q.shape.length === 3 ? 'BSHD' : 'BHSD';
  const q = headsApart(Q, attributes.q_num_heads);
  const k = behindPast(headsApart(K, attributes.kv_num_heads), pastKey);
  const v = behindPast(headsApart(V, attributes.kv_num_heads), pastValue);
  const [headAxis, rowAxis] = layout === 'BSHD' ? [2, 1] : [1, 2];
  const [B, H, Hkv, Sq] = [q.shape[0], q.shape[headAxis], k.shape[headAxis], q.shape[rowAxis]];
  const isCausal = attributes.is_causal === 1;
  const past = pastKey ? pastKey.shape[2] : 0;
  const lengths = filled && numbers(filled);
  const options: CaseOptions = {
    ...(attributes.scale !== undefined && {scale: attributes.scale}),
    ...(attributes.softcap !== undefined && {softcap: attributes.softcap}),
    ...(isCausal && {causal: true, queryOffset: lengths ? lengths.map(n => n - Sq) : past}),
  };
  const ints = (values: number[]): HostArray => ({shape: [B], dtype: 'int32', values: Int32Array.from(values)});
  const isBool = mask?.type === 'bool';
  return {
    c: attentionCase(`published: ONNX ${name}`, {
      B, H, Hkv, Sq, Sk: k.shape[rowAxis], D: q.shape[3], Dv: v.shape[3], layout, options,
    }),
    inputs: {
      q: float(q),
      k: float(k),
      v: float(v),
      ...(mask && !isBool && {bias: {...float(mask), scoresRank: 4}}),
      ...(mask && isBool && {mask: {shape: mask.shape, dtype: 'bool' as const, values: Uint8Array.from(numbers(mask)), scoresRank: 4}}),
      ...(lengths && {keyLengths: ints(lengths)}),
      ...(isCausal && lengths && {queryOffset: ints(lengths.map(n => n - Sq))}),
    },
    output: numbers(output),
  }; // prettier-ignore
}

function numbers({values}: OnnxTensor): number[] {
  return values.split(' ').map(Number);
}

function float(x: OnnxTensor): HostArray {
  return {shape: x.shape, dtype: 'float32', values: Float32Array.from(numbers(x))};
}

function headsApart(x: OnnxTensor, heads?: number): OnnxTensor {
  if (x.shape.length === 4 || !heads) return x;
  const [B, S, width] = x.shape;
  return {...x, shape: [B, S, heads, width / heads]};
}

/** Keys or values with those of the past in front; [B, H, S, D] both. */
function behindPast(x: OnnxTensor, past?: OnnxTensor): OnnxTensor {
  if (!past) return x;
  const [B, H, S, D] = x.shape;
  const P = past.shape[2];
  const [now, before] = [numbers(x), numbers(past)];
  const joined: number[] = [];
  for (let n = 0; n < B * H; n++) {
    joined.push(...before.slice(n * P * D, (n + 1) * P * D), ...now.slice(n * S * D, (n + 1) * S * D));
  }
  return {...x, shape: [B, H, P + S, D], values: joined.join(' ')};
}
