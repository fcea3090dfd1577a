// Gathers the status words of a run's steps: the first step that met an index out of range becomes the device's word.
// words: one for every step that reports, `stride` words apart; steps: stride, then those steps' numbers.
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@group(0) @binding(1) var<storage, read_write> steps: array<u32>;
@group(0) @binding(2) var<storage, read_write> status: atomic<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let stride = steps[0];
  for (var i = lane; i < arrayLength(&steps) - 1u; i += 64u) {
    if (words[i * stride] != 0u) {
      // The word is all ones while nothing has happened.
      atomicMin(&status, steps[i + 1u] + 1u);
      words[i * stride] = 0u;
    }
  }
}
