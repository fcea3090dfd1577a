//! Sorting positions by group, and reading what that wrote.

use super::Status;
use crate::plan::OrderKernel;

/// # Safety
/// The slots are as large as the kernel's bindings say, do not overlap, and nobody else uses the second.
pub unsafe fn run(kernel: &OrderKernel, slots: &[*mut u8], status: Status<'_>) {
    let (groups, positions) = (kernel.groups as usize, kernel.positions as usize);
    // SAFETY: `positions` words, by contract.
    let index = unsafe { std::slice::from_raw_parts(slots[0].cast::<i32>(), positions) };
    // SAFETY: `positions + groups + 1` words, by contract.
    let out = unsafe { std::slice::from_raw_parts_mut(slots[1].cast::<i32>(), positions + groups + 1) };
    let (order, offsets) = out.split_at_mut(positions);
    // Positions without a group are counted behind the last group.
    let group_of = |index: i32| usize::try_from(index).ok().filter(|&group| group < groups);
    if index.iter().any(|&index| index != -1 && group_of(index).is_none()) {
        status.report();
    }
    offsets.fill(0);
    for group in index.iter().filter_map(|&index| group_of(index)) {
        offsets[group + 1] += 1;
    }
    for group in 0..groups {
        offsets[group + 1] += offsets[group];
    }
    let mut next = offsets.to_vec();
    for (position, &index) in index.iter().enumerate() {
        let group = group_of(index).unwrap_or(groups);
        order[next[group] as usize] = position as i32;
        next[group] += 1;
    }
}

/// An order as it lies in memory, checked: what reads it must not trust memory that a plan could have spoilt.
pub struct Order<'a> {
    pub positions: &'a [i32],
    offsets: &'a [i32],
}

impl<'a> Order<'a> {
    /// `None` if it is no order of so many positions and groups.
    ///
    /// # Safety
    /// `memory` has `positions + groups + 1` words, which nobody writes meanwhile.
    pub unsafe fn read(memory: *const u8, positions: usize, groups: usize) -> Option<Self> {
        // SAFETY: the caller's contract.
        let words = unsafe { std::slice::from_raw_parts(memory.cast::<i32>(), positions + groups + 1) };
        let (order, offsets) = words.split_at(positions);
        let inside = |value: i32, end: usize| usize::try_from(value).is_ok_and(|value| value < end);
        let rising = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        let sound = offsets[0] == 0 && rising && inside(offsets[groups], positions + 1);
        let mut seen = vec![false; positions];
        let distinct = order
            .iter()
            .all(|&position| inside(position, positions) && !std::mem::replace(&mut seen[position as usize], true));
        (sound && distinct).then_some(Self { positions: order, offsets })
    }

    /// The positions of a group.
    pub fn group(&self, group: usize) -> &'a [i32] {
        &self.positions[self.offsets[group] as usize..self.offsets[group + 1] as usize]
    }

    /// The positions without a group.
    pub fn rest(&self) -> &'a [i32] {
        &self.positions[self.offsets[self.offsets.len() - 1] as usize..]
    }
}
