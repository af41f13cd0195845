export interface Expectation {
  /** Attention sites, how many of them are fused, and how many of those are causal. */
  found: number;
  fused: number;
  causal: number;
  /** The unfused model is not run, and why; the fused one is then held to 3e-6. */
  unfusedFails?: string;
}

export const EXPECTED: Record<string, Expectation> = {
  albert: {found: 2, fused: 2, causal: 0},
  bart: {found: 3, fused: 3, causal: 1},
  bert: {found: 2, fused: 2, causal: 0},
  clip_text: {found: 2, fused: 2, causal: 2, unfusedFails: 'tfjs 4.22 has no MatrixSetDiagV3'},
  clip_vision: {found: 2, fused: 2, causal: 0},
  distilbert: {found: 2, fused: 2, causal: 0},
  electra: {found: 2, fused: 2, causal: 0},
  forms: {found: 8, fused: 8, causal: 2},
  gpt2: {found: 2, fused: 2, causal: 2},
  gpt2_left_padding: {found: 2, fused: 2, causal: 2},
  gpt2_mask: {found: 2, fused: 2, causal: 2},
  gpt2_past: {found: 2, fused: 2, causal: 2},
  keras_additive: {found: 1, fused: 0, causal: 0},
  keras_attention: {found: 1, fused: 1, causal: 0},
  keras_attention_causal: {
    found: 1,
    fused: 1,
    causal: 1,
    unfusedFails: 'tfjs 4.22 takes no negative axis in Cumsum: wrong on cpu, out of bounds on wasm',
  },
  keras_causal: {found: 1, fused: 1, causal: 1},
  keras_causal_padding: {found: 1, fused: 1, causal: 1},
  keras_cross: {found: 1, fused: 1, causal: 0},
  keras_mask_zero: {found: 1, fused: 1, causal: 0},
  keras_mha: {found: 1, fused: 1, causal: 0},
  loop: {found: 1, fused: 1, causal: 0},
  minilm: {found: 3, fused: 3, causal: 0},
  mpnet: {found: 2, fused: 2, causal: 0},
  probabilities_used_twice: {found: 1, fused: 0, causal: 0},
  refused: {found: 5, fused: 0, causal: 0},
  roberta: {found: 2, fused: 2, causal: 0},
  single_matmul_chain: {found: 1, fused: 1, causal: 0},
  t5: {found: 6, fused: 6, causal: 2},
  vit: {found: 2, fused: 2, causal: 0},
  whisper: {found: 3, fused: 3, causal: 1},
};
