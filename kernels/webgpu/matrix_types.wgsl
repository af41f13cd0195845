// The matrices that a subgroup multiplies (WGSL's experimental subgroup matrices): half-precision factors, float32 sums.
alias half = f16;
alias Left = subgroup_matrix_left<half, MATRIX_K, MATRIX_M>;
alias Right = subgroup_matrix_right<half, MATRIX_N, MATRIX_K>;
alias Sum = subgroup_matrix_result<f32, MATRIX_N, MATRIX_M>;

fn to_half(x: vec4f) -> vec4<half> { return vec4<half>(x); }
