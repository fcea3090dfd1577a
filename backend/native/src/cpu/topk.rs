//! The indices of the largest elements.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::axes::{Axis, count, join, offsets};
use super::contract::Slot;
use crate::plan::TopkKernel;

/// Elements below which one thread looks at all of them.
const PARALLEL: usize = 1 << 15;
/// Up to so many slots are kept sorted while going through the elements; for more, all are sorted.
const FEW: usize = 32;

pub struct Topk {
    /// Strides in a and c.
    rows: Vec<Axis<2>>,
    size: usize,
    stride: isize,
    slots: usize,
    slot_stride: isize,
    offsets: [isize; 2],
}

/// Largest first, NaN last; equal elements compare equal.
fn compare(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

impl Topk {
    pub fn new(kernel: &TopkKernel) -> Self {
        Self {
            rows: join(kernel.rows.iter().map(|row| Axis::new(row.size, [row.a, row.c]))),
            size: kernel.axis.size as usize,
            stride: kernel.axis.a as isize,
            slots: kernel.slots.size as usize,
            slot_stride: kernel.slots.c as isize,
            offsets: [kernel.offsets.a, kernel.offsets.c].map(|offset| offset as isize),
        }
    }

    /// # Safety
    /// The slots are as large as the kernel's bindings say; c does not overlap a, and nobody else uses it.
    pub unsafe fn run(&self, slots: &[*mut u8]) {
        let (a, c) = (Slot(slots[0].cast::<f32>()), Slot(slots[1].cast::<i32>()));
        let rows = count(&self.rows);
        if rows == 0 || self.slots == 0 {
            return;
        }
        let row = |row: usize| {
            let [from, to] = offsets(&self.rows, row);
            // SAFETY: validated offsets.
            let value = |i: usize| unsafe { *a.at(self.offsets[0] + from + self.stride * i as isize) };
            for (slot, index) in self.largest(value).into_iter().enumerate() {
                // SAFETY: validated offsets; rows write different elements.
                unsafe { *c.at(self.offsets[1] + to + self.slot_stride * slot as isize) = index };
            }
        };
        if rows * self.size < PARALLEL { (0..rows).for_each(row) } else { (0..rows).into_par_iter().for_each(row) }
    }

    fn largest(&self, value: impl Fn(usize) -> f32) -> Vec<i32> {
        if self.slots > FEW {
            let mut all: Vec<(f32, i32)> = (0..self.size).map(|i| (value(i), i as i32)).collect();
            // Stable: equal elements stay in the order of their index.
            all.sort_by(|x, y| compare(x.0, y.0));
            return all.into_iter().take(self.slots).map(|(_, index)| index).collect();
        }
        let mut best: Vec<(f32, i32)> = Vec::with_capacity(self.slots + 1);
        for i in 0..self.size {
            let x = value(i);
            if best.len() == self.slots && compare(x, best[self.slots - 1].0) != Ordering::Less {
                continue;
            }
            let place = best.partition_point(|&(other, _)| compare(other, x) != Ordering::Greater);
            best.insert(place, (x, i as i32));
            best.truncate(self.slots);
        }
        best.into_iter().map(|(_, index)| index).collect()
    }
}
