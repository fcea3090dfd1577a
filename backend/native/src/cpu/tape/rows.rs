//! Before and after an inner stage: rows' values spread over their lanes, and lanes added up row by row. Compiled for
//! each instruction set, as the instructions are.

use super::{Accumulator, Code, TapeStage, ops};

/// Some rows whose lanes lie in one block.
pub struct Rows {
    /// Where the lanes of each block lie.
    pub places: *const *mut u32,
    /// Lane of the first of them in the rows' registers.
    pub first: usize,
    pub count: usize,
    /// Lanes of each.
    pub lanes: usize,
}

impl Rows {
    #[inline(always)]
    fn at(&self, block: u16) -> *mut u32 {
        // SAFETY: there is a place for every block of the tape.
        unsafe { *self.places.add(block.into()) }
    }
}

/// # Safety
/// As many lanes are writable.
#[inline(always)]
unsafe fn fill(to: *mut u32, count: usize, word: u32) {
    let mut lane = 0;
    while lane < count {
        // SAFETY: the caller's contract.
        unsafe { *to.add(lane) = word };
        lane += 1;
    }
}

/// Gives the lanes of each row the values of their row, and accumulators what changes nothing.
///
/// # Safety
/// The stage's blocks and the rows' lanes exist, and belong to this thread.
#[inline(always)]
pub unsafe fn begin(stage: &TapeStage, rows: &Rows) {
    for &(from, to) in &stage.expanded {
        for row in 0..rows.count {
            // SAFETY: the caller's contract.
            unsafe { fill(rows.at(to).add(row * rows.lanes), rows.lanes, *rows.at(from).add(rows.first + row)) };
        }
    }
    for accumulator in &stage.accumulators {
        // SAFETY: the caller's contract.
        unsafe { fill(rows.at(accumulator.block), rows.count * rows.lanes, accumulator.identity()) };
    }
}

/// Joins the accumulators' lanes, row by row, halving, into the rows' lanes of the results.
///
/// # Safety
/// As [`begin`].
#[inline(always)]
pub unsafe fn end(stage: &TapeStage, rows: &Rows) {
    for &accumulator in &stage.accumulators {
        for row in 0..rows.count {
            // SAFETY: the caller's contract.
            unsafe {
                let values = rows.at(accumulator.block).add(row * rows.lanes);
                fold(accumulator, values, rows.lanes);
                *rows.at(accumulator.result).add(rows.first + row) = *values;
            }
        }
    }
}

/// Joins some lanes in the first of them.
///
/// # Safety
/// As many lanes are readable and writable.
#[inline(always)]
pub unsafe fn fold(accumulator: Accumulator, lanes: *mut u32, count: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        match accumulator.code {
            // The common ones as vector loops.
            Code::SumF => halve(lanes.cast(), count, |a: f32, b| a + b),
            Code::HighF => halve(lanes.cast(), count, ops::max),
            _ => halve(lanes, count, |a: u32, b| accumulator.join(a, b)),
        }
    }
}

/// Eight lanes of a row.
type Eight<T> = [T; 8];

#[inline(always)]
fn join_eight<T: Copy>(a: Eight<T>, b: Eight<T>, f: &impl Fn(T, T) -> T) -> Eight<T> {
    [
        f(a[0], b[0]),
        f(a[1], b[1]),
        f(a[2], b[2]),
        f(a[3], b[3]),
        f(a[4], b[4]),
        f(a[5], b[5]),
        f(a[6], b[6]),
        f(a[7], b[7]),
    ]
}

/// Joins what [`halve`] would, of every `step`th of `N` · `step` vectors, without writing anything between.
macro_rules! tree {
    ($name:ident, $half:ident) => {
        /// # Safety
        /// As many vectors are readable.
        #[inline(always)]
        unsafe fn $name<T: Copy>(from: *const Eight<T>, step: usize, f: &impl Fn(T, T) -> T) -> Eight<T> {
            // SAFETY: the caller's contract.
            unsafe { join_eight($half(from, 2 * step, f), $half(from.add(step), 2 * step, f), f) }
        }
    };
}

/// # Safety
/// The vector is readable.
#[inline(always)]
unsafe fn tree_1<T: Copy>(from: *const Eight<T>, _: usize, _: &impl Fn(T, T) -> T) -> Eight<T> {
    // SAFETY: the caller's contract.
    unsafe { from.read_unaligned() }
}

tree!(tree_2, tree_1);
tree!(tree_4, tree_2);
tree!(tree_8, tree_4);
tree!(tree_16, tree_8);
tree!(tree_32, tree_16);
tree!(tree_64, tree_32);

/// # Safety
/// As [`fold`].
#[inline(always)]
unsafe fn halve<T: Copy>(lanes: *mut T, count: usize, f: impl Fn(T, T) -> T) {
    let mut width = count;
    // The same sums without a store and a load for each half.
    let from = lanes.cast_const().cast::<Eight<T>>();
    // SAFETY: the caller's contract.
    let joined = unsafe {
        match count {
            32 => Some(tree_4(from, 1, &f)),
            64 => Some(tree_8(from, 1, &f)),
            128 => Some(tree_16(from, 1, &f)),
            256 => Some(tree_32(from, 1, &f)),
            512 => Some(tree_64(from, 1, &f)),
            _ => None,
        }
    };
    if let Some(v) = joined {
        let [a, b] = [f(f(v[0], v[4]), f(v[2], v[6])), f(f(v[1], v[5]), f(v[3], v[7]))];
        // SAFETY: as above.
        return unsafe { *lanes = f(a, b) };
    }
    while width > 1 {
        let half = width.div_ceil(2);
        let (mut lane, rest) = (0, width - half);
        while lane + 8 <= rest {
            // SAFETY: the caller's contract.
            unsafe {
                let low = lanes.add(lane).cast::<Eight<T>>();
                let high = lanes.add(half + lane).cast::<Eight<T>>();
                low.write_unaligned(join_eight(low.read_unaligned(), high.read_unaligned(), &f));
            }
            lane += 8;
        }
        while lane < rest {
            // SAFETY: the caller's contract.
            unsafe { *lanes.add(lane) = f(*lanes.add(lane), *lanes.add(half + lane)) };
            lane += 1;
        }
        width = half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::tape::LANES;

    #[test]
    fn folding_joins_every_lane_once() {
        for width in 1..=LANES {
            let accumulator = Accumulator { block: 0, result: 0, code: Code::SumI };
            let mut lanes: Vec<u32> = (0..width as u32).map(|lane| 3 * lane + 1).collect();
            let sum = lanes.iter().sum::<u32>();
            // SAFETY: as many lanes as the vector has.
            unsafe { fold(accumulator, lanes.as_mut_ptr(), width) };
            assert_eq!(lanes[0], sum);
        }
    }
}
