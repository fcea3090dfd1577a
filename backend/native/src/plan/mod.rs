//! Plans: mirror of `backend/compiler/kernel.ts`, where each record is explained. [`Plan::validate`] proves that a
//! plan reads and writes inside its buffers only; devices rely on it.

mod check;
mod check_loop;
mod extent;
mod instruction;
mod kernel;
#[cfg(test)]
mod tests;

pub use check::{Binding, Checked};
pub use instruction::{
    Access, Affine, Binary, Gather, Guard, Instruction, Level, Reduction, RegisterType, Stage, StorageType, Unary,
};
pub use kernel::{
    BatchAxis, ColumnAxis, ContractKernel, CopyKernel, DepthAxis, GroupedIntoKernel, GroupedKernel, IntoAxis, Kernel,
    Lanes, LoopKernel, Offsets, OperandTypes, OrderKernel, RowAxis, ScatterAxis, ScatterKernel, Then, TopkAxis,
    TopkKernel, TopkSlots, WgslKernel,
};

use serde::Deserialize;

use crate::error::{Error, Result};

/// Version of the plans that this library runs.
pub const VERSION: u32 = 1;

/// Offsets are multiples of this: no element lies across. (A GPU asks for more, see its own checks.)
pub const ALIGNMENT: u64 = 4;

/// Where a buffer of the plan lies.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "at", rename_all = "camelCase")]
pub enum PlanBuffer {
    Argument {
        index: usize,
        #[serde(default)]
        offset: u64,
        bytes: u64,
    },
    Arena {
        chunk: usize,
        offset: u64,
        bytes: u64,
    },
    Upload {
        offset: u64,
        bytes: u64,
    },
}

impl PlanBuffer {
    pub fn offset(&self) -> u64 {
        match self {
            Self::Argument { offset, .. } | Self::Arena { offset, .. } | Self::Upload { offset, .. } => *offset,
        }
    }

    pub fn bytes(&self) -> u64 {
        match self {
            Self::Argument { bytes, .. } | Self::Arena { bytes, .. } | Self::Upload { bytes, .. } => *bytes,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    In,
    Out,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Argument {
    pub bytes: u64,
    pub mode: Mode,
}

#[derive(Debug, Clone, Deserialize)]
pub struct PlanStep {
    pub kernel: usize,
    pub buffers: Vec<usize>,
}

/// A whole step function.
#[derive(Debug, Clone, Deserialize)]
pub struct Plan {
    pub version: u32,
    pub arena: Vec<u64>,
    pub upload: u64,
    pub arguments: Vec<Argument>,
    pub buffers: Vec<PlanBuffer>,
    pub kernels: Vec<Kernel>,
    pub steps: Vec<PlanStep>,
    #[serde(default)]
    pub poison: bool,
    /// Measure each step, even where that makes the whole run slower.
    #[serde(default)]
    pub timed: bool,
}

impl Plan {
    /// Reads a plan's JSON; it is not validated yet.
    pub fn parse(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let unreadable = |error: serde_json::Error| Error(format!("plan: {error}"));
        let Version { version } = serde_json::from_slice(json).map_err(unreadable)?;
        crate::ensure!(version == VERSION, "plan: version {version}, this library runs version {VERSION}");
        serde_json::from_slice(json).map_err(unreadable)
    }
}
