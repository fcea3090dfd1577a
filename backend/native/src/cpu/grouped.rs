//! Products whose weights are chosen by an index: rows are gathered group by group, weights never.

use rayon::prelude::*;

use super::Status;
use super::axes::{Axis, count, join, offsets};
use super::behind::{Behind, Call};
use super::contract::Slot;
use super::order::Order;
use super::product::{Operand, Product, SHARED, Steps};
use super::tape::Runner;
use crate::plan::{GroupedIntoKernel, GroupedKernel, StorageType};

/// Runs `each(group, may it use all threads?)` for groups with so many multiplications: large ones one after the other,
/// the others side by side.
fn for_groups(work: &[usize], each: impl Fn(usize, bool) + Sync) {
    let (small, large): (Vec<usize>, Vec<usize>) = (0..work.len()).partition(|&group| work[group] < SHARED);
    large.into_iter().for_each(|group| each(group, true));
    small.into_par_iter().for_each(|group| each(group, false));
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
    types: [StorageType; 2],
    then: Option<Behind>,
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
            types: kernel.types.storage(),
            then: kernel.then.as_ref().map(|then| {
                let positions: i64 = kernel.positions.iter().map(|axis| axis.size).product();
                Behind::new(then, positions as usize)
            }),
        }
    }

    /// # Safety
    /// The slots are as large as the kernel's bindings say; c overlaps no other slot, and nobody else uses it.
    pub unsafe fn run(&self, slots: &[*mut u8], status: Status<'_>, runner: Runner) {
        let call = Call { slots: &slots[3..], status, runner };
        let c = self.then.as_ref().map_or(slots[3], |then| then.memory(call.slots));
        let ([a, b], c) = ([slots[0], slots[1]].map(Slot), Slot(c.cast::<f32>()));
        let positions = count(&self.positions);
        let (depth, width) = (self.k.size, self.n.size);
        if positions == 0 || width == 0 {
            return;
        }
        // SAFETY: by contract the slot has that many words.
        let order = unsafe { Order::read(slots[2], positions, self.groups) };
        let row = |position: i32| offsets(&self.positions, position as usize);
        let clear = |position: i32| {
            if c.0.is_null() {
                return;
            }
            // SAFETY: validated offsets, and positions that `Order::read` checked.
            let zeros = unsafe { c.at(self.offsets[2] + row(position)[1]) };
            for i in 0..width {
                // SAFETY: validated offsets, and positions that `Order::read` checked.
                unsafe { *zeros.offset(self.n.strides[1] * i as isize) = 0.0 };
            }
        };
        // Rows without a group are zeros, and go through the loop like others.
        let without = |position: i32| {
            clear(position);
            if let Some(then) = &self.then {
                let mut zeros = if then.is_stored() { Vec::new() } else { vec![0.0; width] };
                // SAFETY: validated slots; every position is worked on once.
                unsafe { then.run(call, position as usize, 1, zeros.as_mut_ptr(), width) };
            }
        };
        let Some(order) = order else {
            (0..positions as i32).for_each(without);
            return status.report();
        };
        order.rest().iter().for_each(|&position| without(position));
        let work: Vec<usize> = (0..self.groups).map(|group| order.group(group).len() * depth * width).collect();
        for_groups(&work, |group, parallel| {
            let (from, to): (Vec<isize>, Vec<isize>) =
                order.group(group).iter().map(|&position| (row(position)[0], row(position)[1])).unzip();
            let start = |slot: Slot<u8>, side: usize, more: isize| {
                slot.address((self.offsets[side] + more) * self.types[side].bytes() as isize)
            };
            let product = Product {
                m: from.len(),
                n: width,
                k: depth,
                a: Operand {
                    start: start(a, 0, 0),
                    dtype: self.types[0],
                    lines: Steps::At(&from),
                    depth: Steps::Even(self.k.strides[0]),
                    runs: &[0],
                },
                b: Operand {
                    start: start(b, 1, self.group * group as isize),
                    dtype: self.types[1],
                    lines: Steps::Even(self.n.strides[0]),
                    depth: Steps::Even(self.k.strides[1]),
                    runs: &[0],
                },
                c: if c.0.is_null() { c.0 } else { c.address(self.offsets[2]) },
                c_rows: Steps::At(&to),
                c_column: self.n.strides[1],
                add: false,
            };
            // SAFETY: validated offsets, and positions that `Order::read` checked; groups have different rows.
            unsafe {
                let Some(then) = &self.then else { return product.run(parallel) };
                let members = order.group(group);
                product.run_panels(parallel, &|rows, result| {
                    then.run_apart(call, &members[rows], result, width);
                });
            };
        });
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
    types: [StorageType; 2],
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
            types: kernel.types.storage(),
        }
    }

    /// # Safety
    /// The slots are as large as the kernel's bindings say; c overlaps no other slot, and nobody else uses it.
    pub unsafe fn run(&self, slots: &[*mut u8], status: Status<'_>) {
        let ([a, b], c) = ([slots[0], slots[1]].map(Slot), Slot(slots[3].cast::<f32>()));
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
        let members = |group: usize| order.as_ref().map_or(&[][..], |order| order.group(group));
        let work: Vec<usize> = (0..self.groups).map(|group| members(group).len() * rows * width).collect();
        for_groups(&work, |group, parallel| {
            let (left, right): (Vec<isize>, Vec<isize>) =
                members(group).iter().map(|&position| (row(position)[0], row(position)[1])).unzip();
            let operand = |slot: Slot<u8>, side: usize, line: isize, depth| Operand {
                start: slot.address(self.offsets[side] * self.types[side].bytes() as isize),
                dtype: self.types[side],
                lines: Steps::Even(line),
                depth,
                runs: &[0],
            };
            let product = Product {
                m: rows,
                n: width,
                k: left.len(),
                a: operand(a, 0, self.m.strides[0], Steps::At(&left)),
                b: operand(b, 1, self.n.strides[0], Steps::At(&right)),
                c: c.address(self.offsets[2] + self.group * group as isize),
                c_rows: Steps::Even(self.m.strides[1]),
                c_column: self.n.strides[1],
                add: false,
            };
            // SAFETY: validated offsets, and positions that `Order::read` checked; groups have different parts of c.
            unsafe { product.run(parallel) };
        });
    }
}
