//! Products whose weights are chosen by an index: rows are gathered group by group, weights never.

use std::cell::Cell;

use rayon::prelude::*;

use super::Status;
use super::axes::{Axis, count, join, offsets};
use super::contract::Slot;
use super::order::Order;
use super::product::{Product, with_scratch};
use crate::plan::{GroupedIntoKernel, GroupedKernel};

/// Floats to copy below which one thread does it.
const PARALLEL: usize = 1 << 16;

thread_local! {
    static LEFT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Calls `body(row, its floats)` for each row of `panel`, in parallel if it pays.
fn each_row(panel: &mut [f32], length: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    if length == 0 {
        return;
    }
    if panel.len() < PARALLEL {
        panel.chunks_exact_mut(length).enumerate().for_each(|(row, floats)| body(row, floats));
    } else {
        panel.par_chunks_exact_mut(length).with_min_len(8).enumerate().for_each(|(row, floats)| body(row, floats));
    }
}

/// # Safety
/// `from + stride · i` is readable for each float of `to`.
unsafe fn gather(to: &mut [f32], from: *const f32, stride: isize) {
    for (i, to) in to.iter_mut().enumerate() {
        // SAFETY: the caller's contract.
        *to = unsafe { *from.offset(stride * i as isize) };
    }
}

/// # Safety
/// `to + stride · i` is writable for each float of `from`.
unsafe fn scatter(from: &[f32], to: *mut f32, stride: isize) {
    for (i, &from) in from.iter().enumerate() {
        // SAFETY: the caller's contract.
        unsafe { *to.offset(stride * i as isize) = from };
    }
}

pub struct Grouped {
    groups: usize,
    /// Strides in a and c.
    positions: Vec<Axis<2>>,
    /// Strides in a and b.
    k: Axis<2>,
    /// Strides in b and c.
    n: Axis<2>,
    group: isize,
    offsets: [isize; 3],
}

impl Grouped {
    pub fn new(kernel: &GroupedKernel) -> Self {
        Self {
            groups: kernel.groups as usize,
            positions: join(kernel.positions.iter().map(|axis| Axis::new(axis.size, [axis.a, axis.c]))),
            k: Axis::new(kernel.k.size, [kernel.k.a, kernel.k.b]),
            n: Axis::new(kernel.n.size, [kernel.n.b, kernel.n.c]),
            group: kernel.group as isize,
            offsets: [kernel.offsets.a, kernel.offsets.b, kernel.offsets.c].map(|offset| offset as isize),
        }
    }

    /// # Safety
    /// The slots are as large as the kernel's bindings say; c overlaps no other slot, and nobody else uses it.
    pub unsafe fn run(&self, slots: &[*mut u8], status: Status<'_>) {
        let (a, b, c) = (Slot(slots[0].cast::<f32>()), Slot(slots[1].cast::<f32>()), Slot(slots[3].cast::<f32>()));
        let positions = count(&self.positions);
        let (depth, width) = (self.k.size, self.n.size);
        if positions == 0 || width == 0 {
            return;
        }
        // SAFETY: by contract the slot has that many words.
        let order = unsafe { Order::read(slots[2], positions, self.groups) };
        let row = |position: i32| offsets(&self.positions, position as usize);
        let clear = |position: i32| {
            // SAFETY: validated offsets, and positions that `Order::read` checked.
            let zeros = unsafe { c.at(self.offsets[2] + row(position)[1]) };
            for i in 0..width {
                // SAFETY: validated offsets, and positions that `Order::read` checked.
                unsafe { *zeros.offset(self.n.strides[1] * i as isize) = 0.0 };
            }
        };
        let Some(order) = order else {
            (0..positions as i32).for_each(clear);
            return status.report();
        };
        order.rest().iter().for_each(|&position| clear(position));
        for group in 0..self.groups {
            let members = order.group(group);
            if members.is_empty() {
                continue;
            }
            if depth == 0 {
                members.iter().for_each(|&position| clear(position));
                continue;
            }
            with_scratch(&LEFT, members.len() * depth, |left| {
                // SAFETY: validated offsets, and positions that `Order::read` checked.
                each_row(left, depth, |i, floats| unsafe {
                    gather(floats, a.at(self.offsets[0] + row(members[i])[0]), self.k.strides[0]);
                });
                with_scratch(&RIGHT, members.len() * width, |right| {
                    let product = Product {
                        m: members.len(),
                        n: width,
                        k: depth,
                        a: left.as_ptr(),
                        a_m: depth as isize,
                        a_k: 1,
                        // SAFETY: validated offsets, and positions that `Order::read` checked.
                        b: unsafe { b.at(self.offsets[1] + self.group * group as isize) },
                        b_k: self.k.strides[1],
                        b_n: self.n.strides[0],
                        c: right.as_mut_ptr(),
                        c_m: width as isize,
                        c_n: 1,
                        add: false,
                    };
                    // SAFETY: validated offsets, and positions that `Order::read` checked.
                    unsafe { product.run(true) };
                    // SAFETY: validated offsets, and positions that `Order::read` checked.
                    each_row(right, width, |i, floats| unsafe {
                        scatter(floats, c.at(self.offsets[2] + row(members[i])[1]), self.n.strides[1]);
                    });
                });
            });
        }
    }
}

pub struct GroupedInto {
    groups: usize,
    /// Strides in a and b.
    positions: Vec<Axis<2>>,
    /// Strides in a and c.
    m: Axis<2>,
    /// Strides in b and c.
    n: Axis<2>,
    group: isize,
    offsets: [isize; 3],
}

impl GroupedInto {
    pub fn new(kernel: &GroupedIntoKernel) -> Self {
        Self {
            groups: kernel.groups as usize,
            positions: join(kernel.positions.iter().map(|axis| Axis::new(axis.size, [axis.a, axis.b]))),
            m: Axis::new(kernel.m.size, [kernel.m.a, kernel.m.c]),
            n: Axis::new(kernel.n.size, [kernel.n.b, kernel.n.c]),
            group: kernel.group as isize,
            offsets: [kernel.offsets.a, kernel.offsets.b, kernel.offsets.c].map(|offset| offset as isize),
        }
    }

    /// # Safety
    /// The slots are as large as the kernel's bindings say; c overlaps no other slot, and nobody else uses it.
    pub unsafe fn run(&self, slots: &[*mut u8], status: Status<'_>) {
        let (a, b, c) = (Slot(slots[0].cast::<f32>()), Slot(slots[1].cast::<f32>()), Slot(slots[3].cast::<f32>()));
        let positions = count(&self.positions);
        let (rows, width) = (self.m.size, self.n.size);
        if rows == 0 || width == 0 {
            return;
        }
        // SAFETY: by contract the slot has that many words.
        let order = unsafe { Order::read(slots[2], positions, self.groups) };
        if order.is_none() {
            status.report();
        }
        let row = |position: i32| offsets(&self.positions, position as usize);
        for group in 0..self.groups {
            let members = order.as_ref().map_or(&[][..], |order| order.group(group));
            with_scratch(&LEFT, members.len() * rows, |left| {
                // SAFETY: validated offsets, and positions that `Order::read` checked.
                each_row(left, rows, |i, floats| unsafe {
                    gather(floats, a.at(self.offsets[0] + row(members[i])[0]), self.m.strides[0]);
                });
                with_scratch(&RIGHT, members.len() * width, |right| {
                    // SAFETY: validated offsets, and positions that `Order::read` checked.
                    each_row(right, width, |i, floats| unsafe {
                        gather(floats, b.at(self.offsets[1] + row(members[i])[1]), self.n.strides[0]);
                    });
                    let product = Product {
                        m: rows,
                        n: width,
                        k: members.len(),
                        a: left.as_ptr(),
                        a_m: 1,
                        a_k: rows as isize,
                        b: right.as_ptr(),
                        b_k: width as isize,
                        b_n: 1,
                        // SAFETY: validated offsets, and positions that `Order::read` checked.
                        c: unsafe { c.at(self.offsets[2] + self.group * group as isize) },
                        c_m: self.m.strides[1],
                        c_n: self.n.strides[1],
                        add: false,
                    };
                    // SAFETY: validated offsets, and positions that `Order::read` checked.
                    unsafe { product.run(true) };
                });
            });
        }
    }
}
