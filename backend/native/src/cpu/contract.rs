//! Contractions: batches of matrix products.

use rayon::prelude::*;

use super::Status;
use super::axes::{Axis, count, join, offsets};
use super::behind::{Behind, Call};
use super::product::{Operand, Product, SHARED, Steps};
use super::tape::Runner;
use crate::plan::{ContractKernel, StorageType};

/// A contraction of fewer multiplications runs on the calling thread.
const ALONE: usize = 1 << 16;

pub struct Contract {
    batch: Vec<Axis<3>>,
    m: Axis<2>,
    n: Axis<2>,
    /// The longest run of the depth, and where the runs start in a and b.
    k: Axis<2>,
    runs: [Vec<isize>; 2],
    offsets: [isize; 3],
    types: [StorageType; 2],
    /// Adds to what is in c.
    accumulate: bool,
    then: Option<Behind>,
}

/// Start of a slot's memory, for threads that share it.
#[derive(Clone, Copy)]
pub struct Slot<T>(pub *mut T);

// SAFETY: only an address; each use says why it may be used.
unsafe impl<T> Send for Slot<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Slot<T> {}

impl<T> Slot<T> {
    /// The address `offset` elements further, wherever that is.
    pub fn address(self, offset: isize) -> *mut T {
        self.0.wrapping_offset(offset)
    }

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
        // The longest run is the product's own; the others are walked through.
        let longest = (0..passes.len()).max_by_key(|&axis| (passes[axis].size, axis));
        let k = longest.map_or(Axis::new(1, [0, 0]), |axis| passes.remove(axis));
        let starts = || (0..count(&passes)).map(|pass| offsets(&passes, pass));
        Self {
            batch: join(kernel.batch.iter().map(|axis| Axis::new(axis.size, [axis.a, axis.b, axis.c]))),
            m: Axis::new(kernel.m.size, [kernel.m.a, kernel.m.c]),
            n: Axis::new(kernel.n.size, [kernel.n.b, kernel.n.c]),
            k,
            runs: [starts().map(|start| start[0]).collect(), starts().map(|start| start[1]).collect()],
            offsets: [kernel.offsets.a, kernel.offsets.b, kernel.offsets.c].map(|offset| offset as isize),
            types: kernel.types.storage(),
            accumulate: kernel.accumulate,
            then: kernel.then.as_ref().map(|then| {
                let batches: i64 = kernel.batch.iter().map(|axis| axis.size).product();
                Behind::new(then, (batches * kernel.m.size) as usize)
            }),
        }
    }

    /// The product number `batch`.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn product(&self, batch: usize, slots: [Slot<u8>; 3]) -> Product<'_> {
        let start = offsets(&self.batch, batch);
        let operand = |side: usize, lines: isize| Operand {
            start: slots[side]
                .0
                .wrapping_offset((self.offsets[side] + start[side]) * self.types[side].bytes() as isize),
            dtype: self.types[side],
            lines: Steps::Even(lines),
            depth: Steps::Even(self.k.strides[side]),
            runs: &self.runs[side],
        };
        Product {
            m: self.m.size,
            n: self.n.size,
            k: self.k.size,
            a: operand(0, self.m.strides[0]),
            b: operand(1, self.n.strides[0]),
            c: if slots[2].0.is_null() {
                std::ptr::null_mut()
            } else {
                slots[2].0.cast::<f32>().wrapping_offset(self.offsets[2] + start[2])
            },
            c_rows: Steps::Even(self.m.strides[1]),
            c_column: self.n.strides[1],
            add: self.accumulate,
        }
    }

    /// # Safety
    /// The slots are as large as the kernel's bindings say; c overlaps neither a nor b, and nobody else uses it.
    pub unsafe fn run(&self, slots: &[*mut u8], status: Status<'_>, runner: Runner) {
        let call = Call { slots: &slots[2..], status, runner };
        let c = self.then.as_ref().map_or(slots[2], |then| then.memory(call.slots));
        let memory = [slots[0], slots[1], c].map(Slot);
        let one = |batch: usize, parallel: bool| {
            // SAFETY: `run`'s contract: validated offsets; products of a batch write different parts of c, and their
            // loops work on different rows.
            unsafe {
                let product = self.product(batch, memory);
                let Some(then) = &self.then else { return product.run(parallel) };
                product.run_panels(parallel, &|rows, result| {
                    then.run(call, batch * self.m.size + rows.start, rows.len(), result, self.n.size);
                });
            }
        };
        let batches = count(&self.batch);
        if batches == 0 || self.m.size == 0 || self.n.size == 0 {
            return;
        }
        let product = self.m.size * self.n.size * self.k.size.max(1) * self.runs[0].len().max(1);
        let work = product.saturating_mul(batches);
        if work < ALONE || rayon::current_num_threads() == 1 {
            (0..batches).for_each(|batch| one(batch, false));
        } else if batches >= 4 * rayon::current_num_threads() || batches > 1 && product < SHARED {
            let fewest = (ALONE / product.max(1)).max(1);
            (0..batches).into_par_iter().with_min_len(fewest).for_each(|batch| one(batch, false));
        } else {
            (0..batches).for_each(|batch| one(batch, true));
        }
    }
}
