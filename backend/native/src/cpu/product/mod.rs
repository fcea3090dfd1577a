//! Matrix products: packed and blocked, or for few rows as they lie.

mod blocks;
mod micro;
mod operand;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use rayon::prelude::*;

use super::small::Small;
pub use operand::{Operand, Steps};

/// Multiplications below which a product stays on one thread.
const PARALLEL: usize = 1 << 18;
/// Multiplications from which on one product among several is shared by all threads; smaller ones run side by side.
pub const SHARED: usize = 1 << 22;

/// c[m, n] = Σ_k a[m, k] · b[k, n], wherever the elements lie.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    pub m: usize,
    pub n: usize,
    /// Length of each run of the depth; the operands say where runs start, both of as many.
    pub k: usize,
    pub a: Operand<'a>,
    pub b: Operand<'a>,
    pub c: *mut f32,
    pub c_rows: Steps<'a>,
    pub c_column: isize,
    /// Adds to what is in c.
    pub add: bool,
}

// SAFETY: a description; who runs it promises that c is nobody else's.
unsafe impl Send for Product<'_> {}
// SAFETY: as above.
unsafe impl Sync for Product<'_> {}

thread_local! {
    static ROWS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Runs `body` with `count` floats of this thread's scratch memory, of any content.
pub fn with_scratch<R>(
    cell: &'static std::thread::LocalKey<Cell<Vec<f32>>>,
    count: usize,
    body: impl FnOnce(&mut [f32]) -> R,
) -> R {
    let mut scratch = cell.take();
    if scratch.len() < count {
        scratch.resize(count, 0.0);
    }
    let result = body(&mut scratch[..count]);
    cell.set(scratch);
    result
}

impl Product<'_> {
    fn work(&self) -> usize {
        self.m.saturating_mul(self.n).saturating_mul(self.k).saturating_mul(self.a.runs.len())
    }

    /// Is it worth sharing among threads, if it may be?
    fn pays(&self, parallel: bool) -> bool {
        parallel && self.work() >= PARALLEL && rayon::current_num_threads() > 1
    }

    /// The same with rows and columns exchanged, unless rows are looked up.
    fn transposed(self) -> Option<Self> {
        let Steps::Even(c_row) = self.c_rows else { return None };
        let c_rows = Steps::Even(self.c_column);
        Some(Self { m: self.n, n: self.m, a: self.b, b: self.a, c_rows, c_column: c_row, ..self })
    }

    /// Multiplies. The result's bits do not depend on `parallel` or the number of threads.
    ///
    /// # Safety
    /// a and b are readable and c is writable over their extents; c overlaps neither of them and is nobody else's.
    pub unsafe fn run(self, parallel: bool) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        let parallel = self.pays(parallel);
        let turned = self.transposed();
        let few = turned.filter(|turned| turned.m < self.m).unwrap_or(self);
        // SAFETY: the caller's contract.
        unsafe {
            match (few.as_small(), turned) {
                (Some(small), _) => few.run_small(small, parallel),
                // Tiles are written along c's columns.
                (None, Some(turned)) if self.c_column != 1 && turned.c_column == 1 => turned.run_blocks(parallel),
                (None, _) => self.run_blocks(parallel),
            }
        }
    }

    /// As a product with few rows, but for the rows themselves, if the weights need no packing.
    fn as_small(&self) -> Option<Small> {
        let (Steps::Even(b_column), Steps::Even(b_depth)) = (self.b.lines, self.b.depth) else { return None };
        let Steps::Even(c_row) = self.c_rows else { return None };
        let fits = !self.b.runs.is_empty() && self.k > 2 && Small::fits(self.m, b_depth, b_column);
        fits.then_some(Small {
            rows: self.m,
            depth: self.k,
            a: std::ptr::null(),
            row_stride: self.k,
            b: self.b.start,
            b_dtype: self.b.dtype,
            b_depth,
            b_column,
            c: self.c,
            c_row,
            c_column: self.c_column,
            add: self.add,
        })
    }

    /// # Safety
    /// As [`Self::run`]; the product's description as a small one.
    unsafe fn run_small(&self, small: Small, parallel: bool) {
        with_scratch(&ROWS, self.m * self.k, |rows| {
            for run in 0..self.a.runs.len() {
                // SAFETY: the caller's contract.
                unsafe { self.a.copy_lines(run, self.m, self.k, rows) };
                let b = small.b.wrapping_offset(self.b.runs[run] * self.b.dtype.bytes() as isize);
                let add = self.add || run > 0;
                // SAFETY: the caller's contract.
                unsafe { run_columns(&Small { a: rows.as_ptr(), b, add, ..small }, self.n, parallel) };
            }
        });
    }
}

/// # Safety
/// The small product's operands are readable and c is writable over `count` columns, and nobody else's.
unsafe fn run_columns(small: &Small, count: usize, parallel: bool) {
    let columns = small.columns();
    if !parallel {
        // SAFETY: the caller's contract.
        return unsafe { columns(small, 0, count) };
    }
    // Cut at multiples of 64 columns; where does not matter to the result.
    let blocks = count.div_ceil(64);
    let tasks = blocks.min(rayon::current_num_threads() * 4);
    (0..tasks).into_par_iter().for_each(|task| {
        let (from, to) = (task * blocks / tasks * 64, (task + 1) * blocks / tasks * 64);
        // SAFETY: the caller's contract; tasks have different columns.
        unsafe { columns(small, from, to.min(count)) };
    });
}
