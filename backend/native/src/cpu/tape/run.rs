//! Running a tape: over rows or blocks of rows, in parallel; a single long row is cut into pieces of a fixed length.
//!
//! The order in which values are summed depends on the shape only, never on the number of threads.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::ops::{Frame, Runner};
use super::rows::Rows;
use super::{Accumulator, Block, LANES, Tape, TapeStage};
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

/// The same where they leave something to each other: it stays in the first-level cache, or near it.
const KEEPING: usize = 1 << 12;

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

/// What a thread needs to work on a tape, reused from task to task.
#[derive(Default)]
struct Scratch {
    blocks: Vec<Block>,
    /// Where the lanes of each block lie.
    places: Vec<*mut u32>,
    /// Value of each line at lane 0 of the current scalar index.
    bases: Vec<i64>,
    /// Start of each slot's memory.
    slots: Vec<*mut u8>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// A thread while it works on one task.
struct Worker<'a> {
    launch: &'a Launch<'a>,
    scratch: Scratch,
}

impl<'a> Worker<'a> {
    fn new(launch: &'a Launch<'a>) -> Self {
        let tape = launch.tape;
        let mut scratch = SCRATCH.take();
        let Scratch { blocks, places, bases, slots } = &mut scratch;
        let needed = tape.blocks + if tape.inner { tape.wide.len() * parts(tape) } else { 0 };
        if blocks.len() < needed {
            blocks.resize(needed, Block::ZERO);
        }
        for &(block, bits) in &tape.constants {
            blocks[usize::from(block)].0.fill(bits);
        }
        let start = blocks.as_mut_ptr();
        places.clear();
        places.extend((0..tape.blocks).map(|block| start.wrapping_add(block).cast::<u32>()));
        bases.clear();
        bases.resize(tape.lines, 0);
        slots.clear();
        slots.extend_from_slice(launch.slots);
        Self { launch, scratch }
    }

    /// Goes to a scalar index.
    fn seek(&mut self, scalar: usize) {
        let tape = self.launch.tape;
        let axes = tape.scalar_sizes.len();
        if axes == 1 {
            for (base, line) in self.scratch.bases.iter_mut().zip(tape.scalar_lines.chunks_exact(2)) {
                *base = line[0] + line[1] * scalar as i64;
            }
            return;
        }
        for (base, line) in self.scratch.bases.iter_mut().zip(tape.scalar_lines.chunks_exact(axes + 1)) {
            *base = line[0];
        }
        let mut rest = scalar;
        for axis in (0..axes).rev() {
            let index = (rest % tape.scalar_sizes[axis]) as i64;
            rest /= tape.scalar_sizes[axis];
            for (base, line) in self.scratch.bases.iter_mut().zip(tape.scalar_lines.chunks_exact(axes + 1)) {
                *base += line[axis + 1] * index;
            }
        }
    }

    fn execute(&mut self, stage: &TapeStage, position: usize, count: usize) {
        let Launch { tape, status, runner, .. } = *self.launch;
        let (blocks, places) = (self.scratch.blocks.as_mut_ptr(), self.scratch.places.as_mut_ptr());
        let frame = Frame {
            tape,
            blocks,
            places,
            slots: &self.scratch.slots,
            bases: &self.scratch.bases,
            position,
            count,
            status,
        };
        // SAFETY: `run`'s contract; the blocks are this worker's own.
        unsafe { (runner.run)(&tape.ops[stage.ops.clone()], &frame) };
    }

    fn rows_of(&self, first: usize, count: usize, lanes: usize) -> Rows {
        Rows { places: self.scratch.places.as_ptr(), first, count, lanes }
    }

    /// A block's lanes, where they lie in the block itself.
    fn block(&mut self, block: u16) -> &mut Block {
        // SAFETY: a block of this worker's; the place of one that is read elsewhere is never asked for.
        unsafe { &mut *self.scratch.places[usize::from(block)].cast() }
    }

    /// Goes to a block of lanes of the batch: where what stages leave to each other lies.
    fn turn(&mut self, part: usize) {
        let wide = &self.launch.tape.wide;
        let start = self.scratch.blocks.as_mut_ptr().wrapping_add(self.launch.tape.blocks + part * wide.len());
        for (number, &block) in wide.iter().enumerate() {
            self.scratch.places[usize::from(block)] = start.wrapping_add(number).cast();
        }
    }

    /// An inner stage over the columns `range` of one row, which is lane `first` of the rows' registers.
    fn long_row(&mut self, stage: &TapeStage, row: usize, first: usize, range: Range<usize>) {
        let tape = self.launch.tape;
        let width = LANES.min(tape.columns);
        let (rows, runner) = (self.rows_of(first, 1, width), self.launch.runner);
        // SAFETY: this worker's blocks.
        unsafe { (runner.begin)(stage, &rows) };
        let mut column = range.start;
        while column < range.end {
            let count = LANES.min(range.end - column);
            // A row in pieces leaves nothing to later stages.
            self.turn(first * tape.columns.div_ceil(LANES) + (column - range.start) / LANES);
            self.execute(stage, row * tape.columns + column, count);
            column += count;
        }
        // SAFETY: as above.
        unsafe { (runner.end)(stage, &rows) };
    }

    /// Rows of which several fit into a block; the first is lane `first` of the rows' registers.
    fn short_rows(&mut self, stage: &TapeStage, row: usize, first: usize, count: usize) {
        let columns = self.launch.tape.columns;
        let (rows, runner) = (self.rows_of(first, count, columns), self.launch.runner);
        // SAFETY: this worker's blocks.
        unsafe { (runner.begin)(stage, &rows) };
        self.turn(first / (LANES / columns));
        self.execute(stage, row * columns, count * columns);
        // SAFETY: as above.
        unsafe { (runner.end)(stage, &rows) };
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
        for &accumulator in &stage.accumulators {
            self.block(accumulator.block).0[..count].fill(accumulator.identity());
        }
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
            batch_rows(tape)
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
                let blocks = &self.scratch.blocks;
                let partial = |piece: usize| -> Vec<Block> {
                    let mut worker = Worker::new(launch);
                    for &block in &known {
                        worker.scratch.blocks[usize::from(block)] = blocks[usize::from(block)];
                    }
                    let range = piece * length..tape.columns.min((piece + 1) * length);
                    if tape.inner {
                        worker.seek(0);
                        worker.long_row(stage, position, 0, range);
                    } else {
                        worker.inner_scalars(stage, range, position, count);
                    }
                    let of = |accumulator: &Accumulator| worker.scratch.blocks[usize::from(accumulator.result)];
                    stage.accumulators.iter().map(of).collect()
                };
                let pieces = tape.columns.div_ceil(length);
                let partials: Vec<Vec<Block>> = (0..pieces).into_par_iter().map(partial).collect();
                for (number, &accumulator) in stage.accumulators.iter().enumerate() {
                    let total = &mut self.scratch.blocks[usize::from(accumulator.result)].0[..count];
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
        SCRATCH.set(std::mem::take(&mut self.scratch));
    }
}

/// Rows that go through all stages together where lanes are inner indices.
fn batch_rows(tape: &Tape) -> usize {
    let together = (LANES / tape.columns.max(1)).max(1);
    let lanes = if tape.wide.is_empty() { BATCH } else { KEEPING };
    (lanes / tape.columns.max(1)).clamp(1, LANES).next_multiple_of(together).min(LANES)
}

/// Blocks of lanes in a batch of rows.
fn parts(tape: &Tape) -> usize {
    let together = (LANES / tape.columns.max(1)).max(1);
    batch_rows(tape).div_ceil(together) * tape.columns.div_ceil(LANES)
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

/// The same over rows here and there: each part says where the slot `moved` starts for it.
///
/// # Safety
/// As [`run`].
pub unsafe fn run_parts(launch: &Launch<'_>, moved: usize, parts: impl Iterator<Item = (Range<usize>, *mut u8)>) {
    let mut worker = Worker::new(launch);
    for (rows, start) in parts {
        worker.scratch.slots[moved] = start;
        worker.range(rows);
    }
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
