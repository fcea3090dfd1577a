//! Kernels, prepared when a plan is loaded, run once per step.

use rayon::prelude::*;

use super::Status;
use super::contract::{Contract, Slot};
use super::grouped::{Grouped, GroupedInto};
use super::order;
use super::scatter::Scatter;
use super::tape::{self, Launch, Runner, Tape};
use super::topk::Topk;
use crate::error::Result;
use crate::fail;
use crate::plan::{Kernel, OrderKernel};

/// Bytes that a thread copies at a time.
const COPY: usize = 1 << 20;

pub enum Prepared {
    Loop(Tape),
    Contract(Contract),
    Order(OrderKernel),
    Grouped(Grouped),
    GroupedInto(GroupedInto),
    Scatter(Scatter),
    Topk(Topk),
    Copy { bytes: usize },
}

impl Prepared {
    /// From a validated kernel.
    pub fn new(kernel: &Kernel) -> Result<Self> {
        Ok(match kernel {
            Kernel::Loop(kernel) => Self::Loop(tape::compile(kernel)),
            Kernel::Contract(kernel) => Self::Contract(Contract::new(kernel)),
            Kernel::Order(kernel) => Self::Order(kernel.clone()),
            Kernel::Grouped(kernel) => Self::Grouped(Grouped::new(kernel)),
            Kernel::GroupedInto(kernel) => Self::GroupedInto(GroupedInto::new(kernel)),
            Kernel::Scatter(kernel) => Self::Scatter(Scatter::new(kernel)),
            Kernel::Topk(kernel) => Self::Topk(Topk::new(kernel)),
            Kernel::Copy(kernel) => Self::Copy { bytes: kernel.words as usize * 4 },
            Kernel::Wgsl(_) => fail!("a shader does not run on the cpu device"),
        })
    }

    /// # Safety
    /// The kernel was validated, the slots are as large as its bindings say and overlap only where validation allows
    /// it, and nobody else touches what it writes, or writes what it reads, meanwhile.
    pub unsafe fn run(&self, slots: &[*mut u8], status: Status<'_>, runner: Runner) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Self::Loop(tape) => tape::run(&Launch { tape, slots, status, runner }),
                Self::Contract(kernel) => kernel.run(slots, status, runner),
                Self::Order(kernel) => order::run(kernel, slots, status),
                Self::Grouped(kernel) => kernel.run(slots, status, runner),
                Self::GroupedInto(kernel) => kernel.run(slots, status),
                Self::Scatter(kernel) => kernel.run(slots, status),
                Self::Topk(kernel) => kernel.run(slots),
                Self::Copy { bytes } => copy(Slot(slots[0]), Slot(slots[1]), *bytes),
            }
        }
    }
}

/// # Safety
/// As many bytes are readable and writable, and they do not overlap.
unsafe fn copy(from: Slot<u8>, to: Slot<u8>, bytes: usize) {
    let piece = |number: usize| {
        let start = number * COPY;
        let length = COPY.min(bytes - start);
        // SAFETY: inside both, by contract.
        unsafe { std::ptr::copy_nonoverlapping(from.at(start as isize), to.at(start as isize), length) };
    };
    let pieces = bytes.div_ceil(COPY);
    if pieces < 2 { (0..pieces).for_each(piece) } else { (0..pieces).into_par_iter().for_each(piece) }
}
