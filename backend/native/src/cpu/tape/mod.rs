//! Loop kernels on the CPU: a body is translated to a *tape*, whose instructions each work on a block of up to 512
//! lanes, so that a block's registers stay in the first-level cache and every instruction is a vector loop.
//!
//! Lanes are consecutive rows, the inner axes being *scalar* axes, stepped through one index at a time; or they are
//! consecutive inner indices, of one row or of several short ones. In that case outer stages still work on rows, a
//! whole batch of them at a time, and their values are spread over each row's lanes for the inner stages.

mod access;
mod compile;
pub mod element;
#[cfg(test)]
mod evaluate;
mod ops;
mod pattern;
mod rows;
mod run;
#[cfg(test)]
mod tests;
mod walk;

pub use compile::compile;
pub use ops::{Runner, runner};
pub use run::{Launch, run, run_parts, run_rows};

use std::ops::Range;

use crate::plan::{Level, StorageType};
use pattern::Pattern;
use walk::Walk;

/// Lanes of a block, at most.
pub const LANES: usize = 512;

/// A register: one 32-bit value per lane.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Block(pub [u32; LANES]);

impl Block {
    pub const ZERO: Self = Self([0; LANES]);
}

/// What an instruction does, types resolved. F: f32, I: i32 (or both integers), U: u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Load,
    Store,
    Index,
    NegF,
    NegI,
    AbsF,
    AbsI,
    Exp,
    Log,
    Recip,
    Sqrt,
    Sin,
    Cos,
    Tanh,
    Floor,
    RoundF16,
    RoundBf16,
    NotBool,
    NotI,
    AddF,
    AddI,
    SubF,
    SubI,
    MulF,
    MulI,
    MaxF,
    MaxI,
    MaxU,
    MinF,
    MinI,
    MinU,
    LessF,
    LessI,
    LessU,
    EqualF,
    EqualI,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    Select,
    FloatToInt,
    FloatToUnsigned,
    FloatToBool,
    IntToFloat,
    UnsignedToFloat,
    IntToBool,
    Copy,
    /// Into an accumulator.
    SumF,
    SumI,
    HighF,
    HighI,
    HighU,
    LowF,
    LowI,
    LowU,
}

/// One instruction. Blocks are numbers of scratch blocks; the destination is never one of the sources.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    pub code: Code,
    pub to: u16,
    pub a: u16,
    pub b: u16,
    pub c: u16,
    /// Number of its access (loads and stores) or walk (index).
    pub place: u16,
}

/// Adds `stride · value of a block's lane`.
#[derive(Debug, Clone, Copy)]
pub struct TapeGather {
    pub block: u16,
    pub stride: i64,
    pub size: i64,
    /// Is the index the same along each run?
    pub uniform: bool,
}

/// Where loads and stores go. Line 0 of the walk is the address, the others are guards.
#[derive(Debug, Clone)]
pub struct TapeAccess {
    pub slot: usize,
    pub dtype: StorageType,
    pub walk: Walk,
    pub sizes: Vec<i64>,
    pub gather: Option<TapeGather>,
    /// Its runs, where they come again.
    pub pattern: Option<Pattern>,
    /// May a load's lanes be read where they lie? Its block is no other instruction's target, and nothing is stored
    /// before they were used.
    pub direct: bool,
}

/// What a counter counts.
#[derive(Debug, Clone)]
pub struct TapeIndex {
    pub walk: Walk,
    /// Its runs, where they come again.
    pub pattern: Option<Pattern>,
}

/// An accumulator of a stage.
#[derive(Debug, Clone, Copy)]
pub struct Accumulator {
    /// Where values are added, lane by lane.
    pub block: u16,
    /// Where the result goes, one lane per row (the same block where lanes are rows).
    pub result: u16,
    /// How values are added to it.
    pub code: Code,
}

impl Accumulator {
    /// The value that changes nothing.
    pub fn identity(self) -> u32 {
        match self.code {
            Code::HighF => f32::NEG_INFINITY.to_bits(),
            Code::LowF => f32::INFINITY.to_bits(),
            Code::HighI => i32::MIN as u32,
            Code::LowI => i32::MAX as u32,
            Code::LowU => u32::MAX,
            // −0 is the identity of IEEE's sum, but sums over nothing are +0.
            _ => 0,
        }
    }

    /// Both values in one.
    pub fn join(self, a: u32, b: u32) -> u32 {
        let (x, y) = (f32::from_bits(a), f32::from_bits(b));
        match self.code {
            Code::SumF => (x + y).to_bits(),
            Code::HighF => ops::max(x, y).to_bits(),
            Code::LowF => ops::min(x, y).to_bits(),
            Code::HighI => (a as i32).max(b as i32) as u32,
            Code::LowI => (a as i32).min(b as i32) as u32,
            Code::HighU => a.max(b),
            Code::LowU => a.min(b),
            _ => a.wrapping_add(b),
        }
    }
}

#[derive(Debug, Clone)]
pub struct TapeStage {
    pub level: Level,
    pub ops: Range<usize>,
    pub accumulators: Vec<Accumulator>,
    /// Blocks that live on after the stage, one lane per row: what it computes per row, and its results.
    pub kept: Vec<u16>,
    /// Where lanes are inner indices: (block with a lane per row, block in which a row's lanes all get its value).
    pub expanded: Vec<(u16, u16)>,
}

/// A translated kernel.
#[derive(Debug, Clone)]
pub struct Tape {
    /// Are lanes inner indices (else rows)?
    pub inner: bool,
    /// Extent of the outer axes, flattened.
    pub rows: usize,
    /// Extent of the inner axes, flattened.
    pub columns: usize,
    /// The scalar axes.
    pub scalar_sizes: Vec<usize>,
    /// Per line of the walks, its offset and its strides along the scalar axes.
    pub scalar_lines: Vec<i64>,
    /// Rows of a block where lanes are rows.
    pub width: usize,
    pub ops: Vec<Op>,
    pub accesses: Vec<TapeAccess>,
    pub indices: Vec<TapeIndex>,
    pub stages: Vec<TapeStage>,
    /// Blocks filled once: (block, bits).
    pub constants: Vec<(u16, u32)>,
    /// Blocks whose lanes inner stages leave to later ones, for each block of lanes in a batch of rows.
    pub wide: Vec<u16>,
    pub blocks: usize,
    /// Lines of all walks: each has a base per scalar index.
    pub lines: usize,
}
