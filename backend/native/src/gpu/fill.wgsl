// Fills a buffer with NaN (as f32, and as two 16-bit reals), so that a kernel that reads what no kernel wrote is noticed.
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  for (var i = id.x; i < arrayLength(&words); i += groups.x * 64u) { words[i] = 0x7fff7fffu; }
}
