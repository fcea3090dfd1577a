//! Matrix products: the `gemm` crate, and our own kernels for few rows.

use std::cell::Cell;

use gemm::Parallelism;
use rayon::prelude::*;

use super::small::Small;

/// Multiplications below which a product stays on one thread.
const PARALLEL: usize = 1 << 18;

/// c[m, n] = Σ_k a[m, k] · b[k, n], any strides (in elements).
#[derive(Clone, Copy)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const f32,
    pub a_m: isize,
    pub a_k: isize,
    pub b: *const f32,
    pub b_k: isize,
    pub b_n: isize,
    pub c: *mut f32,
    pub c_m: isize,
    pub c_n: isize,
    /// Adds to what is in c.
    pub add: bool,
}

// SAFETY: a description; who runs it promises that c is nobody else's.
unsafe impl Send for Product {}
// SAFETY: as above.
unsafe impl Sync for Product {}

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

impl Product {
    fn work(&self) -> usize {
        self.m.saturating_mul(self.n).saturating_mul(self.k)
    }

    /// The same with rows and columns exchanged.
    fn transposed(self) -> Self {
        Self {
            m: self.n,
            n: self.m,
            a: self.b,
            a_m: self.b_n,
            a_k: self.b_k,
            b: self.a,
            b_k: self.a_k,
            b_n: self.a_m,
            c_m: self.c_n,
            c_n: self.c_m,
            ..self
        }
    }

    /// Multiplies. The result's bits do not depend on `parallel` or the number of threads.
    ///
    /// # Safety
    /// a and b are readable and c is writable over their extents; c overlaps neither of them and is nobody else's.
    pub unsafe fn run(self, parallel: bool) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        let product = if self.n < self.m { self.transposed() } else { self };
        let parallel = parallel && self.work() >= PARALLEL && rayon::current_num_threads() > 1;
        // SAFETY: the caller's contract.
        unsafe {
            if Small::fits(product.m, product.b_k, product.b_n) && product.k > 2 {
                product.run_small(parallel);
            } else {
                product.run_large(parallel);
            }
        }
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn run_large(self, parallel: bool) {
        let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
        let Self { m, n, k, a, a_m, a_k, b, b_k, b_n, c, c_m, c_n, add } = self;
        // SAFETY: the caller's contract.
        unsafe {
            gemm::gemm(m, n, k, c, c_n, c_m, add, a, a_k, a_m, b, b_n, b_k, 1.0, 1.0, false, false, false, parallelism);
        }
    }

    /// # Safety
    /// As [`Self::run`]; the shape fits.
    unsafe fn run_small(self, parallel: bool) {
        if self.a_k == 1 && (self.m == 1 || self.a_m >= 0) {
            // SAFETY: the caller's contract.
            return unsafe { self.run_columns(self.a, self.a_m as usize, parallel) };
        }
        with_scratch(&ROWS, self.m * self.k, |rows| {
            for i in 0..self.m {
                for k in 0..self.k {
                    // SAFETY: inside a.
                    rows[i * self.k + k] = unsafe { *self.a.offset(i as isize * self.a_m + k as isize * self.a_k) };
                }
            }
            // SAFETY: the caller's contract.
            unsafe { self.run_columns(rows.as_ptr(), self.k, parallel) };
        });
    }

    /// # Safety
    /// As [`Self::run_small`], with a's rows contiguous at `a`.
    unsafe fn run_columns(self, a: *const f32, row_stride: usize, parallel: bool) {
        let small = Small {
            rows: self.m,
            depth: self.k,
            a,
            row_stride,
            b: self.b,
            b_depth: self.b_k,
            b_column: self.b_n,
            c: self.c,
            c_row: self.c_m,
            c_column: self.c_n,
            add: self.add,
        };
        let columns = small.columns();
        if !parallel {
            // SAFETY: the caller's contract.
            return unsafe { columns(&small, 0, self.n) };
        }
        // Cut at multiples of 64 columns; where does not matter to the result.
        let blocks = self.n.div_ceil(64);
        let tasks = blocks.min(rayon::current_num_threads() * 4);
        (0..tasks).into_par_iter().for_each(|task| {
            let small = &small;
            let (from, to) = (task * blocks / tasks * 64, (task + 1) * blocks / tasks * 64);
            // SAFETY: the caller's contract; tasks have different columns.
            unsafe { columns(small, from, to.min(self.n)) };
        });
    }
}
