//! Loops that work on a product's rows while they are in the cache.

use super::Status;
use super::tape::{self, Launch, Runner, Tape};
use crate::plan::Then;

/// A loop that works on a product's rows while they are in the cache.
pub struct Behind {
    tape: Tape,
    /// Rows of the loop for each of the product's.
    rows: usize,
    /// The product's slot, and whether it has memory.
    slot: usize,
    stored: bool,
}

impl Behind {
    /// `rows`: the product's. From a validated kernel.
    pub fn new(then: &Then, rows: usize) -> Self {
        let tape = tape::compile(&then.body);
        Self { rows: tape.rows.checked_div(rows).unwrap_or(0), tape, slot: then.slot, stored: then.stored }
    }

    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// The product's memory among the loop's slots, or none.
    pub fn memory(&self, slots: &[*mut u8]) -> *mut u8 {
        if self.stored { slots[self.slot] } else { std::ptr::null_mut() }
    }

    /// Runs the loop for `count` rows of the product from `row` on. `result`: where they lie, if the product has no
    /// memory; each is `width` floats long.
    ///
    /// # Safety
    /// The loop's slots are as its validated bindings say, and nobody else works on these rows.
    pub unsafe fn run(&self, call: Call<'_>, row: usize, count: usize, result: *mut f32, width: usize) {
        let mut slots = [std::ptr::null_mut(); MAX_SLOTS];
        slots[..call.slots.len()].copy_from_slice(call.slots);
        if !self.stored {
            slots[self.slot] = result.wrapping_sub(row * width).cast();
        }
        let launch = Launch { tape: &self.tape, slots: &slots, status: call.status, runner: call.runner };
        // SAFETY: the caller's contract.
        unsafe { tape::run_rows(&launch, row * self.rows..(row + count) * self.rows) };
    }
}

/// Slots of a kernel at most (`plan` allows no more).
const MAX_SLOTS: usize = 64;

/// What a loop behind a product is called with: its slots, and the rest.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub slots: &'a [*mut u8],
    pub status: Status<'a>,
    pub runner: Runner,
}

// SAFETY: addresses; each use says why they may be used.
unsafe impl Send for Call<'_> {}
// SAFETY: as above.
unsafe impl Sync for Call<'_> {}
