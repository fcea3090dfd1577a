//! Sums of rows by index: an embedding's gradient.

use rayon::prelude::*;

use super::Status;
use super::axes::{Axis, count, join, offsets};
use super::contract::Slot;
use crate::plan::ScatterKernel;

/// Floats below which one thread does it all.
const PARALLEL: usize = 1 << 16;

pub struct Scatter {
    groups: usize,
    /// Strides in b.
    positions: Vec<Axis<1>>,
    /// Column axes but the last; strides in b and c.
    columns: Vec<Axis<2>>,
    last: Axis<2>,
    group: isize,
    offsets: [isize; 2],
}

impl Scatter {
    pub fn new(kernel: &ScatterKernel) -> Self {
        let mut columns = join(kernel.columns.iter().map(|axis| Axis::new(axis.size, [axis.b, axis.c])));
        let last = columns.pop().unwrap_or(Axis::new(1, [0, 0]));
        Self {
            groups: kernel.groups as usize,
            positions: join(kernel.positions.iter().map(|axis| Axis::new(axis.size, [axis.b]))),
            columns,
            last,
            group: kernel.group as isize,
            offsets: [kernel.offsets.b, kernel.offsets.c].map(|offset| offset as isize),
        }
    }

    /// # Safety
    /// The slots are as large as the kernel's bindings say; c overlaps no other slot, and nobody else uses it.
    pub unsafe fn run(&self, slots: &[*mut u8], status: Status<'_>) {
        let (b, c) = (Slot(slots[0].cast::<f32>()), Slot(slots[2].cast::<f32>()));
        let positions = count(&self.positions);
        // SAFETY: as many words, by contract.
        let index = unsafe { std::slice::from_raw_parts(slots[1].cast::<i32>(), positions) };
        if index.iter().any(|&index| index != -1 && !(0..self.groups as i64).contains(&i64::from(index))) {
            status.report();
        }
        let width = count(&self.columns) * self.last.size;
        if width == 0 || self.groups == 0 {
            return;
        }
        let floats = self.groups.saturating_mul(width).max(positions.saturating_mul(width));
        let tasks = if floats < PARALLEL { 1 } else { rayon::current_num_threads().min(self.groups) };
        // Each task looks at every index and takes those of its own groups: one order of summation, no locks.
        let task = |task: usize| {
            let mine = task * self.groups / tasks..(task + 1) * self.groups / tasks;
            for group in mine.clone() {
                self.each_run(|[_, at], length| {
                    // SAFETY: validated; this task's group.
                    let to = unsafe { c.at(self.offsets[1] + self.group * group as isize + at) };
                    for i in 0..length {
                        // SAFETY: as above.
                        unsafe { *to.offset(self.last.strides[1] * i as isize) = 0.0 };
                    }
                });
            }
            for (position, &index) in index.iter().enumerate() {
                let Some(group) = usize::try_from(index).ok().filter(|group| mine.contains(group)) else { continue };
                let [start] = offsets(&self.positions, position);
                self.each_run(|[from, to], length| {
                    // SAFETY: validated; this task's group.
                    let from = unsafe { b.at(self.offsets[0] + start + from) };
                    // SAFETY: as above.
                    let to = unsafe { c.at(self.offsets[1] + self.group * group as isize + to) };
                    for i in 0..length as isize {
                        // SAFETY: as above.
                        unsafe { *to.offset(self.last.strides[1] * i) += *from.offset(self.last.strides[0] * i) };
                    }
                });
            }
        };
        if tasks == 1 { task(0) } else { (0..tasks).into_par_iter().for_each(task) }
    }

    /// The runs along the last column axis: offsets in b and c, and the length.
    fn each_run(&self, mut body: impl FnMut([isize; 2], usize)) {
        for outer in 0..count(&self.columns) {
            body(offsets(&self.columns, outer), self.last.size);
        }
    }
}
