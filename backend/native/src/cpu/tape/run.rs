//! Running a tape: over rows or blocks of rows, in parallel; a single long row is cut into pieces of a fixed length.
//!
//! The order in which values are summed depends on the shape only, never on the number of threads.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::ops::{Frame, Runner};
use super::{Accumulator, Block, Code, LANES, Tape, TapeStage, ops};
use crate::cpu::Status;
use crate::plan::Level;

/// Below so many lanes times instructions a kernel runs on the calling thread (some 15 µs of work).
const PARALLEL: usize = 1 << 17;
/// Pieces of a long row, in lanes.
const PIECE: usize = 1 << 14;
/// Fewer rows (or blocks of rows) than this are cut into pieces, if they are long.
const FEW: usize = 8;
/// Lanes that go through all stages together where lanes are inner indices: what one stage loads, the next one finds
/// in the cache.
const BATCH: usize = 1 << 14;

/// One run of a tape.
pub struct Launch<'a> {
    pub tape: &'a Tape,
    /// Start of each slot's memory.
    pub slots: &'a [*mut u8],
    pub status: Status<'a>,
    pub runner: Runner,
}

// SAFETY: the slots' memory is shared by all threads of a run on purpose: each element that is written is touched by
// one lane of one task only (a validated store hits an element once; reading one's own element is the compiler's
// promise for donated buffers).
unsafe impl Sync for Launch<'_> {}

thread_local! {
    /// Blocks of this thread, reused from task to task.
    static SCRATCH: Cell<Vec<Block>> = const { Cell::new(Vec::new()) };
}

/// A thread's blocks and line values while it works on one task.
struct Worker<'a> {
    launch: &'a Launch<'a>,
    blocks: Vec<Block>,
    bases: Vec<i64>,
}

impl<'a> Worker<'a> {
    fn new(launch: &'a Launch<'a>) -> Self {
        let tape = launch.tape;
        let mut blocks = SCRATCH.take();
        if blocks.len() < tape.blocks {
            blocks.resize(tape.blocks, Block::ZERO);
        }
        for &(block, bits) in &tape.constants {
            blocks[usize::from(block)].0.fill(bits);
        }
        Self { launch, blocks, bases: vec![0; tape.lines] }
    }

    /// Goes to a scalar index.
    fn seek(&mut self, scalar: usize) {
        let tape = self.launch.tape;
        let axes = tape.scalar_sizes.len();
        if axes == 1 {
            for (base, line) in self.bases.iter_mut().zip(tape.scalar_lines.chunks_exact(2)) {
                *base = line[0] + line[1] * scalar as i64;
            }
            return;
        }
        for (base, line) in self.bases.iter_mut().zip(tape.scalar_lines.chunks_exact(axes + 1)) {
            *base = line[0];
        }
        let mut rest = scalar;
        for axis in (0..axes).rev() {
            let index = (rest % tape.scalar_sizes[axis]) as i64;
            rest /= tape.scalar_sizes[axis];
            for (base, line) in self.bases.iter_mut().zip(tape.scalar_lines.chunks_exact(axes + 1)) {
                *base += line[axis + 1] * index;
            }
        }
    }

    fn execute(&mut self, stage: &TapeStage, position: usize, count: usize) {
        let Launch { tape, slots, status, runner } = *self.launch;
        let frame =
            Frame { tape, blocks: self.blocks.as_mut_ptr(), slots, bases: &self.bases, position, count, status };
        // SAFETY: `run`'s contract; the blocks are this worker's own.
        unsafe { runner(&tape.ops[stage.ops.clone()], &frame) };
    }

    fn clear(&mut self, stage: &TapeStage, lanes: usize) {
        for accumulator in &stage.accumulators {
            self.blocks[usize::from(accumulator.block)].0[..lanes].fill(accumulator.identity());
        }
    }

    /// Gives the lanes of each of `count` rows the values of their row, which is lane `first`, `first` + 1 … of the
    /// rows' registers.
    fn expand(&mut self, stage: &TapeStage, first: usize, count: usize, lanes: usize) {
        for &(rows, spread) in &stage.expanded {
            for row in 0..count {
                let value = self.blocks[usize::from(rows)].0[first + row];
                self.blocks[usize::from(spread)].0[row * lanes..(row + 1) * lanes].fill(value);
            }
        }
    }

    /// Joins the accumulators' lanes, row by row, halving, into lane `first`, `first` + 1 … of the results.
    fn fold(&mut self, stage: &TapeStage, first: usize, count: usize, lanes: usize) {
        for &accumulator in &stage.accumulators {
            for row in 0..count {
                let values = &mut self.blocks[usize::from(accumulator.block)].0[row * lanes..(row + 1) * lanes];
                fold_lanes(accumulator, values);
                let value = values[0];
                self.blocks[usize::from(accumulator.result)].0[first + row] = value;
            }
        }
    }

    /// An inner stage over the columns `range` of one row, which is lane `first` of the rows' registers.
    fn long_row(&mut self, stage: &TapeStage, row: usize, first: usize, range: Range<usize>) {
        let tape = self.launch.tape;
        let width = LANES.min(tape.columns);
        self.expand(stage, first, 1, width);
        self.clear(stage, width);
        let mut column = range.start;
        while column < range.end {
            let count = LANES.min(range.end - column);
            self.execute(stage, row * tape.columns + column, count);
            column += count;
        }
        self.fold(stage, first, 1, width);
    }

    /// Rows of which several fit into a block; the first is lane `first` of the rows' registers.
    fn short_rows(&mut self, stage: &TapeStage, row: usize, first: usize, count: usize) {
        let columns = self.launch.tape.columns;
        self.expand(stage, first, count, columns);
        self.clear(stage, count * columns);
        self.execute(stage, row * columns, count * columns);
        self.fold(stage, first, count, columns);
    }

    /// A batch of rows, lanes being their inner indices.
    fn batch(&mut self, rows: Range<usize>) {
        let tape = self.launch.tape;
        let together = LANES / tape.columns;
        for stage in &tape.stages {
            if stage.level == Level::Outer {
                self.execute(stage, rows.start, rows.len());
            } else if together > 1 {
                for row in rows.clone().step_by(together) {
                    self.short_rows(stage, row, row - rows.start, together.min(rows.end - row));
                }
            } else {
                for row in rows.clone() {
                    self.long_row(stage, row, row - rows.start, 0..tape.columns);
                }
            }
        }
    }

    /// An inner stage over the scalar indices `range`, for one block of rows.
    fn inner_scalars(&mut self, stage: &TapeStage, range: Range<usize>, position: usize, count: usize) {
        self.clear(stage, count);
        for scalar in range {
            self.seek(scalar);
            self.execute(stage, position, count);
        }
    }

    /// A block of rows, lanes being the rows.
    fn rows(&mut self, position: usize, count: usize) {
        let tape = self.launch.tape;
        for stage in &tape.stages {
            match stage.level {
                Level::Outer => {
                    self.seek(0);
                    self.execute(stage, position, count);
                }
                Level::Inner => self.inner_scalars(stage, 0..tape.columns, position, count),
            }
        }
    }

    /// Some rows, one block after the other.
    fn range(&mut self, range: Range<usize>) {
        let tape = self.launch.tape;
        let block = if tape.inner {
            self.seek(0);
            let together = (LANES / tape.columns.max(1)).max(1);
            (BATCH / tape.columns.max(1)).clamp(1, LANES).next_multiple_of(together).min(LANES)
        } else {
            tape.width
        };
        for row in range.clone().step_by(block) {
            let rows = row..range.end.min(row + block);
            if tape.inner { self.batch(rows) } else { self.rows(row, rows.len()) }
        }
    }

    /// One row, or block of rows, in pieces that run in parallel.
    fn pieces(&mut self, unit: usize, length: usize) {
        let launch = self.launch;
        let tape = launch.tape;
        let (position, count) =
            if tape.inner { (unit, 1) } else { (unit * tape.width, tape.width.min(tape.rows - unit * tape.width)) };
        let mut known: Vec<u16> = Vec::new();
        self.seek(0);
        for stage in &tape.stages {
            if stage.level == Level::Outer {
                self.execute(stage, position, count);
            } else {
                let blocks = &self.blocks;
                let partial = |piece: usize| -> Vec<Block> {
                    let mut worker = Worker::new(launch);
                    for &block in &known {
                        worker.blocks[usize::from(block)] = blocks[usize::from(block)];
                    }
                    let range = piece * length..tape.columns.min((piece + 1) * length);
                    if tape.inner {
                        worker.seek(0);
                        worker.long_row(stage, position, 0, range);
                    } else {
                        worker.inner_scalars(stage, range, position, count);
                    }
                    let of = |accumulator: &Accumulator| worker.blocks[usize::from(accumulator.result)];
                    stage.accumulators.iter().map(of).collect()
                };
                let pieces = tape.columns.div_ceil(length);
                let partials: Vec<Vec<Block>> = (0..pieces).into_par_iter().map(partial).collect();
                for (number, &accumulator) in stage.accumulators.iter().enumerate() {
                    let total = &mut self.blocks[usize::from(accumulator.result)].0[..count];
                    total.fill(accumulator.identity());
                    for piece in &partials {
                        for (total, &value) in total.iter_mut().zip(&piece[number].0) {
                            *total = accumulator.join(*total, value);
                        }
                    }
                }
            }
            known.extend(&stage.kept);
        }
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.blocks));
    }
}

fn fold_lanes(accumulator: Accumulator, lanes: &mut [u32]) {
    let mut width = lanes.len();
    while width > 1 {
        let half = width.div_ceil(2);
        let (low, high) = lanes[..width].split_at_mut(half);
        match accumulator.code {
            // The common ones as vector loops.
            Code::SumF => join_floats(low, high, |a, b| a + b),
            Code::HighF => join_floats(low, high, ops::max),
            _ => {
                for (a, &b) in low.iter_mut().zip(high.iter()) {
                    *a = accumulator.join(*a, b);
                }
            }
        }
        width = half;
    }
}

#[inline(always)]
fn join_floats(low: &mut [u32], high: &[u32], f: impl Fn(f32, f32) -> f32) {
    for (a, &b) in low.iter_mut().zip(high) {
        *a = f(f32::from_bits(*a), f32::from_bits(b)).to_bits();
    }
}

/// Length of the pieces if the kernel is to be cut, by its shape alone.
fn piece_length(tape: &Tape, units: usize) -> Option<usize> {
    if units >= FEW || !tape.stages.iter().any(|stage| stage.level == Level::Inner) {
        return None;
    }
    if tape.inner {
        return (tape.columns >= 2 * PIECE).then_some(PIECE);
    }
    // At most 64 pieces: each holds a block per accumulator.
    let length = tape.columns.div_ceil(64).max(PIECE / LANES);
    (tape.columns >= 4 * length && tape.rows * tape.columns >= 2 * PIECE).then_some(length)
}

/// Runs a tape over some of its rows, on this thread.
///
/// # Safety
/// As [`run`].
pub unsafe fn run_rows(launch: &Launch<'_>, rows: Range<usize>) {
    Worker::new(launch).range(rows);
}

/// Runs a tape.
///
/// # Safety
/// The tape was translated from a validated kernel; the slots are as large as the kernel's bindings say; nobody else
/// touches what it writes, or writes what it reads, meanwhile.
pub unsafe fn run(launch: &Launch<'_>) {
    let tape = launch.tape;
    let units = if tape.inner { tape.rows } else { tape.rows.div_ceil(tape.width) };
    if let Some(length) = piece_length(tape, units) {
        let mut worker = Worker::new(launch);
        for unit in 0..units {
            worker.pieces(unit, length);
        }
        return;
    }
    let width = if tape.inner { 1 } else { tape.width };
    let task = |units: Range<usize>| {
        Worker::new(launch).range(units.start * width..tape.rows.min(units.end * width));
    };
    let work = tape.rows.max(1).saturating_mul(tape.columns.max(1)).saturating_mul(tape.ops.len());
    let threads = rayon::current_num_threads();
    if work < PARALLEL || threads == 1 || units < 2 {
        task(0..units);
        return;
    }
    let tasks = units.min(threads * 4).min(work.div_ceil(PARALLEL / 4));
    (0..tasks).into_par_iter().for_each(|number| task(number * units / tasks..(number + 1) * units / tasks));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_joins_every_lane_once() {
        for width in 1..=LANES {
            let accumulator = Accumulator { block: 0, result: 0, code: Code::SumI };
            let mut lanes: Vec<u32> = (0..width as u32).map(|lane| 3 * lane + 1).collect();
            let sum = lanes.iter().sum::<u32>();
            fold_lanes(accumulator, &mut lanes);
            assert_eq!(lanes[0], sum);
        }
    }
}
