// One workgroup per work item, as in entry_plain. The subgroup's number is an argument: only so is it known to be uniform.
@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_invocation_id) subgroupIndex: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let item = workgroup.x + workgroup.y * workgroups.x;
  if (item >= u.items) { return; }
  invocation = index;
  lane = index % LANES;
  subgroupLane = subgroupIndex;
  run(item, subgroup);
}
