// One workgroup per work item; items beyond 65535 continue in the grid's second dimension.
@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let item = workgroup.x + workgroup.y * workgroups.x;
  if (item >= u.items) { return; }
  invocation = index;
  lane = index % LANES;
  run(item);
}
