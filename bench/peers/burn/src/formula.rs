//! Weights and tokens by formula: the twin of `bench/weights.ts`, so that all start from the same model.

/// A 32-bit FNV-1a hash.
fn seed_of(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |state, letter| (state ^ u32::from(letter)).wrapping_mul(0x0100_0193))
}

/// The i-th number of a seed, 32 bits.
fn mixed(index: u32, seed: u32) -> u32 {
    let mut x = index.wrapping_mul(0x9e37_79b1).wrapping_add(seed);
    x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

/// `count` numbers between −size and size.
pub fn uniform(name: &str, count: usize, size: f64) -> Vec<f32> {
    let seed = seed_of(name);
    (0..count as u32)
        .map(|index| ((f64::from(mixed(index, seed)) / f64::from(1_u32 << 31) - 1.0) * size) as f32)
        .collect()
}

/// The size of a matrix' numbers by its name: deviation 0.02, less for what is added to the residual stream.
pub fn size_of(name: &str, layers: usize) -> f64 {
    let into_residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    0.02 * 3.0_f64.sqrt() / if into_residual { (2.0 * layers as f64).sqrt() } else { 1.0 }
}

/// Tokens of all rows.
pub fn tokens(vocabulary: usize, count: usize) -> Vec<i32> {
    let seed = seed_of("tokens");
    (0..count as u32).map(|index| (mixed(index, seed) % vocabulary as u32) as i32).collect()
}
