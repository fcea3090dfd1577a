//! What the suite asks for and is told: one line of JSON each (`bench/processes.ts`).

use serde::{Deserialize, Serialize};

/// Sizes of a model, by the names of `recipes/convert/config.ts`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub ffn_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub norm_eps: f64,
    pub rope_theta: f64,
    pub tied: bool,
}

/// A training step.
#[derive(Debug, Deserialize)]
pub struct Work {
    pub config: Config,
    pub batch: usize,
    pub seq: usize,
}

/// A round that is asked for: work until so many seconds are over, at least once.
#[derive(Debug, Deserialize)]
pub struct Asked {
    pub seconds: f64,
}

/// It is ready.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    pub losses: Vec<f32>,
    pub about: String,
    pub base_bytes: u64,
}

/// A round that was done.
#[derive(Debug, Serialize)]
pub struct Round {
    pub seconds: f64,
    pub times: u32,
}
