//! Contractions: batches of matrix products.

use rayon::prelude::*;

use super::axes::{Axis, count, join, offsets};
use super::product::Product;
use crate::plan::ContractKernel;

/// A product of a batch with fewer multiplications than this is left to one thread, if there are others.
const SMALL: usize = 1 << 22;
/// A whole contraction with fewer runs on the calling thread.
const TINY: usize = 1 << 16;

pub struct Contract {
    batch: Vec<Axis<3>>,
    m: Axis<2>,
    n: Axis<2>,
    /// The axes of k that cannot be joined with the innermost, whose products are added up.
    passes: Vec<Axis<2>>,
    k: Axis<2>,
    offsets: [isize; 3],
    /// Adds to what is in c.
    accumulate: bool,
}

/// Start of a slot's memory, for threads that share it.
#[derive(Clone, Copy)]
pub struct Slot<T>(pub *mut T);

// SAFETY: only an address; each use says why it may be used.
unsafe impl<T> Send for Slot<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Slot<T> {}

impl<T> Slot<T> {
    /// The address `offset` elements further.
    ///
    /// # Safety
    /// It lies in the slot's memory, or just behind it.
    pub unsafe fn at(self, offset: isize) -> *mut T {
        // SAFETY: the caller's contract.
        unsafe { self.0.offset(offset) }
    }
}

impl Contract {
    pub fn new(kernel: &ContractKernel) -> Self {
        let mut passes = join(kernel.k.iter().map(|axis| Axis::new(axis.size, [axis.a, axis.b])));
        // The longest run is the product's own; the others take a pass each.
        let longest = (0..passes.len()).max_by_key(|&axis| (passes[axis].size, axis));
        let k = longest.map_or(Axis::new(1, [0, 0]), |axis| passes.remove(axis));
        Self {
            batch: join(kernel.batch.iter().map(|axis| Axis::new(axis.size, [axis.a, axis.b, axis.c]))),
            m: Axis::new(kernel.m.size, [kernel.m.a, kernel.m.c]),
            n: Axis::new(kernel.n.size, [kernel.n.b, kernel.n.c]),
            passes,
            k,
            offsets: [kernel.offsets.a, kernel.offsets.b, kernel.offsets.c].map(|offset| offset as isize),
            accumulate: kernel.accumulate,
        }
    }

    /// # Safety
    /// The slots are as large as the kernel's bindings say; c overlaps neither a nor b, and nobody else uses it.
    pub unsafe fn run(&self, slots: &[*mut u8]) {
        let [a, b, c] = [0, 1, 2].map(|slot| Slot(slots[slot].cast::<f32>()));
        let one = |batch: usize, parallel: bool| {
            let start = offsets(&self.batch, batch);
            // A k without elements: one pass that writes zeros, and reads nothing.
            let passes = count(&self.passes);
            let k = if passes == 0 { 0 } else { self.k.size };
            for pass in 0..passes.max(1) {
                let further = if k == 0 { [0, 0] } else { offsets(&self.passes, pass) };
                // SAFETY: `run`'s contract: validated offsets; products of a batch write different parts of c.
                unsafe {
                    let reads = k > 0;
                    let product = Product {
                        m: self.m.size,
                        n: self.n.size,
                        k,
                        a: if reads { a.at(self.offsets[0] + start[0] + further[0]) } else { a.0 },
                        a_m: self.m.strides[0],
                        a_k: self.k.strides[0],
                        b: if reads { b.at(self.offsets[1] + start[1] + further[1]) } else { b.0 },
                        b_k: self.k.strides[1],
                        b_n: self.n.strides[0],
                        c: c.at(self.offsets[2] + start[2]),
                        c_m: self.m.strides[1],
                        c_n: self.n.strides[1],
                        add: self.accumulate || pass > 0,
                    };
                    product.run(parallel);
                }
            }
        };
        let batches = count(&self.batch);
        if batches == 0 || self.m.size == 0 || self.n.size == 0 {
            return;
        }
        let product = self.m.size * self.n.size * self.k.size.max(1) * count(&self.passes).max(1);
        let work = product.saturating_mul(batches);
        if work < TINY || rayon::current_num_threads() == 1 {
            (0..batches).for_each(|batch| one(batch, false));
        } else if batches >= 4 * rayon::current_num_threads() || batches > 1 && product < SMALL {
            let fewest = (TINY / product.max(1)).max(1);
            (0..batches).into_par_iter().with_min_len(fewest).for_each(|batch| one(batch, false));
        } else {
            (0..batches).for_each(|batch| one(batch, true));
        }
    }
}
