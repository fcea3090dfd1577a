//! Native half of xft: devices that run plans, checkpoints, tokenizers.
//!
//! TypeScript talks to it through the C functions in [`abi`]; a plan ([`plan`]) says what a step is, `cpu` and
//! `gpu` say how it runs, nothing else knows both.

pub mod abi;
pub mod cpu;
pub mod device;
pub mod error;
pub mod gpu;
pub mod io;
pub mod plan;
