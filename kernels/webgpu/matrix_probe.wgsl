// The forms of the experimental matrix built-ins that the kernels use: a compiler that knows only older ones refuses them here.
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;

var<workgroup> halves: array<vec4<f16>, 64>;
var<workgroup> sums: array<vec4f, 64>;

@compute @workgroup_size(64)
fn main(@builtin(subgroup_id) subgroup: u32) {
  let left = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&halves, subgroup, 4u);
  let right = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&halves, subgroup, 4u);
  let sum = subgroupMatrixMultiplyAccumulate(left, right, subgroup_matrix_result<f32, 16, 16>());
  subgroupMatrixStore<row_major>(&sums, subgroup, sum, 4u);
}
