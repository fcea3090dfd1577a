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
        let mut slots = Self::slots(call);
        if !self.stored {
            slots[self.slot] = result.wrapping_sub(row * width).cast();
        }
        // SAFETY: the caller's contract.
        unsafe { tape::run_rows(&self.launch(call, &slots), row * self.rows..(row + count) * self.rows) };
    }

    /// The same for rows here and there. `result`: where they lie one after the other, if the product has no memory.
    ///
    /// # Safety
    /// As [`Self::run`].
    pub unsafe fn run_apart(&self, call: Call<'_>, rows: &[i32], result: *mut f32, width: usize) {
        let parts = rows.iter().enumerate().map(|(number, &row)| {
            let (row, result) = (row as usize, result.wrapping_add(number * width));
            let start = if self.stored { call.slots[self.slot] } else { result.wrapping_sub(row * width).cast::<u8>() };
            (row * self.rows..(row + 1) * self.rows, start)
        });
        // SAFETY: the caller's contract.
        unsafe { tape::run_parts(&self.launch(call, &Self::slots(call)), self.slot, parts) };
    }

    /// The loop's slots, and room for that of a product without memory.
    fn slots(call: Call<'_>) -> [*mut u8; MAX_SLOTS] {
        let mut slots = [std::ptr::null_mut(); MAX_SLOTS];
        slots[..call.slots.len()].copy_from_slice(call.slots);
        slots
    }

    fn launch<'a>(&'a self, call: Call<'a>, slots: &'a [*mut u8]) -> Launch<'a> {
        Launch { tape: &self.tape, slots, status: call.status, runner: call.runner }
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
