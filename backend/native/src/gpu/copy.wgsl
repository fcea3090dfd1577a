// Copies words, as many as both buffers have.
@group(0) @binding(0) var<storage, read_write> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> c: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let words = min(arrayLength(&a), arrayLength(&c));
  for (var i = id.x; i < words; i += groups.x * 64u) { c[i] = a[i]; }
}
