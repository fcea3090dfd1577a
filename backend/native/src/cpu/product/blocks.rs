//! The loops around the micro-kernels: depth in blocks, operands packed block by block, tiles of the result in
//! parallel.
//!
//! Every element of the result is summed in an order that depends on the product's depth and the instruction set only:
//! tiles may be cut anywhere, by any number of threads.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::micro::{Direct, Lines, Micro, Tile};
use super::operand::{Operand, Pack, Part, Steps};
use super::{Product, with_scratch};
use crate::cpu::contract::Slot;
use crate::plan::StorageType;

/// Floats of a packed operand at most: both, and what they make, find place in a last-level cache.
const PACKED: usize = 1 << 20;
/// Depth that is packed at once: packed columns and a panel of rows stay in the cache until they are used.
const DEPTH: usize = 1024;
/// Columns that are multiplied over the whole depth before the next: their sums stay in the second-level cache.
const TILE: usize = 256;
/// Rows of a panel at least and at most.
const HIGH: Range<usize> = 24..192;
/// Columns of a tile at least, where a panel is cut for more threads.
const WIDE: usize = 128;
/// Tiles for each thread, so that all end at about the same time.
const TASKS: usize = 6;
/// Lines that a thread packs at a time: long runs, if they lie side by side.
const LINES: usize = 512;
/// Floats of a panel of rows that stay in the second-level cache.
const PANEL: usize = 1 << 16;

/// Rows up to which packing the columns would not pay, and columns up to which packing the rows would not.
const FEW: [usize; 2] = [96, 256];
/// Columns up to which rows that lie side by side are read as they lie: every depth is another line of the cache, and
/// those a power of two apart push each other out.
const STRIDED: usize = 64;
/// Floats from one depth to the next at most where columns are read as they lie: beyond, every depth is another page.
const NEAR: isize = 4096;

thread_local! {
    static ROWS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static COLUMNS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static RESULT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// What happens to finished rows. The pointer: where the first of them lies, if the product has no memory for them.
pub type Finish<'a> = &'a (dyn Fn(Range<usize>, *mut f32) + Sync);

/// A part of the depth: from where on, and how long.
#[derive(Clone, Copy)]
struct Block {
    run: usize,
    deep: usize,
    depth: usize,
}

fn blocks(product: &Product<'_>, longest: usize) -> Vec<Block> {
    let runs = product.a.runs.len();
    if product.k == 0 || runs == 0 {
        // One block that writes zeros.
        return vec![Block { run: 0, deep: 0, depth: 0 }];
    }
    let count = product.k.div_ceil(longest);
    let length = product.k.div_ceil(count).next_multiple_of(8);
    let starts = (0..runs).flat_map(|run| (0..product.k).step_by(length).map(move |deep| (run, deep)));
    starts.map(|(run, deep)| Block { run, deep, depth: length.min(product.k - deep) }).collect()
}

/// Neighbouring blocks that are packed together.
fn stretches(blocks: &[Block]) -> Vec<&[Block]> {
    let (mut stretches, mut start, mut depth) = (Vec::new(), 0, 0);
    for (number, block) in blocks.iter().enumerate() {
        if number > start && depth + block.depth > DEPTH {
            stretches.push(&blocks[start..number]);
            (start, depth) = (number, 0);
        }
        depth += block.depth;
    }
    stretches.push(&blocks[start..]);
    stretches
}

fn depth_of(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| block.depth).sum()
}

/// Some lines of an operand, packed block after block in whole slivers of `width` lines, or read as they lie.
struct Side<'a> {
    operand: &'a Operand<'a>,
    pack: Pack,
    width: usize,
    lines: Range<usize>,
    /// Which lines are packed: all, or those of a last sliver that is not whole, or none.
    packed: Range<usize>,
}

impl Side<'_> {
    fn floats(&self, blocks: &[Block]) -> usize {
        self.packed.len().next_multiple_of(self.width) * depth_of(blocks)
    }

    /// The packing as pieces: where each goes, and what it is.
    fn pieces(&self, blocks: &[Block]) -> Vec<(usize, Part)> {
        let (mut pieces, mut start) = (Vec::new(), 0);
        for &Block { run, deep, depth } in blocks.iter().filter(|block| block.depth > 0) {
            let most = LINES.next_multiple_of(self.width);
            for line in self.packed.clone().step_by(most) {
                let lines = most.min(self.packed.end - line);
                pieces.push((start + (line - self.packed.start) * depth, Part { line, lines, run, deep, depth }));
            }
            start += self.packed.len().next_multiple_of(self.width) * depth;
        }
        pieces
    }

    /// # Safety
    /// The lines are readable at every depth of the blocks, and `to` has room for [`Self::floats`].
    unsafe fn pack(&self, blocks: &[Block], to: Slot<f32>, parallel: bool) {
        // SAFETY: the caller's contract; pieces are packed to different places.
        let one = |(offset, part): (usize, Part)| unsafe { (self.pack)(self.operand, part, to.at(offset as isize)) };
        let pieces = self.pieces(blocks);
        if parallel { pieces.into_par_iter().for_each(one) } else { pieces.into_iter().for_each(one) }
    }

    /// The lines from `line` on in one block, whose packed lines start at `packed`.
    fn at(&self, line: usize, block: Block, packed: *const f32) -> Lines<'_> {
        if self.packed == self.lines || block.depth == 0 {
            return Lines { packed: packed.wrapping_add((line - self.lines.start) * block.depth), direct: None };
        }
        let Steps::Even(step) = self.operand.depth else { unreachable!("looked-up depth is packed") };
        let shift = self.operand.runs[block.run] + step * block.deep as isize;
        let start = self.operand.start.cast::<f32>().wrapping_offset(shift);
        Lines { packed, direct: Some(Direct { start, lines: self.operand.lines, step, line }) }
    }
}

/// A range cut into parts of about `length`, whole units all but the last, as even as that allows.
fn cut(range: Range<usize>, length: usize, unit: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let units = range.len().div_ceil(unit);
    let parts = range.len().div_ceil(length.max(unit));
    let start = move |part: usize| range.end.min(range.start + units * part / parts * unit);
    (0..parts).map(move |part| start(part)..start(part + 1))
}

impl Product<'_> {
    /// Rows in a product with so many columns.
    fn rows(&self, lines: Range<usize>, columns: usize, micro: &Micro) -> Side<'_> {
        let few = match (self.a.lines, self.a.depth) {
            (_, Steps::Even(1)) => FEW[1],
            (Steps::Even(1), Steps::Even(0..=NEAR)) => STRIDED,
            _ => 0,
        };
        let direct = columns <= few && self.a.dtype == StorageType::F32;
        let packed = if direct { lines.end..lines.end } else { lines.clone() };
        Side { operand: &self.a, pack: micro.pack_rows, width: micro.rows, lines, packed }
    }

    /// Columns in a product with so many rows.
    fn columns(&self, lines: Range<usize>, rows: usize, micro: &Micro) -> Side<'_> {
        let even = matches!((self.b.lines, self.b.depth), (Steps::Even(1), Steps::Even(0..=NEAR)));
        let direct = rows <= FEW[0] && self.b.dtype == StorageType::F32 && even && lines.len() > micro.columns;
        let whole = lines.start + lines.len() / micro.columns * micro.columns;
        let packed = if direct { whole..lines.end } else { lines.clone() };
        Side { operand: &self.b, pack: micro.pack_columns, width: micro.columns, lines, packed }
    }

    /// Multiplies `rows` by `columns` over some blocks, which are packed at `a` and `b`.
    ///
    /// # Safety
    /// c is writable there, and nobody else's.
    unsafe fn multiply(
        &self,
        micro: &Micro,
        blocks: &[Block],
        [left, right]: [&Side<'_>; 2],
        [mut a, mut b]: [Slot<f32>; 2],
        [rows, columns]: [Range<usize>; 2],
        first: bool,
    ) {
        for (number, &block) in blocks.iter().enumerate() {
            // SAFETY: the caller's contract.
            unsafe {
                (micro.multiply)(&Tile {
                    a: left.at(rows.start, block, a.0),
                    b: right.at(columns.start, block, b.0),
                    depth: block.depth,
                    rows: rows.len(),
                    columns: columns.len(),
                    c: self.c.wrapping_offset(self.c_column * columns.start as isize),
                    c_rows: self.c_rows,
                    row: rows.start,
                    c_column: self.c_column,
                    add: self.add || !first || number > 0,
                });
            }
            a = Slot(a.address(left.floats(&[block]) as isize));
            b = Slot(b.address(right.floats(&[block]) as isize));
        }
    }

    /// # Safety
    /// As [`Self::run`].
    pub(super) unsafe fn run_blocks(&self, parallel: bool) {
        let micro = Micro::of_this_processor();
        let blocks = blocks(self, micro.depth);
        let threads = if parallel { rayon::current_num_threads() } else { 1 };
        for (number, blocks) in stretches(&blocks).into_iter().enumerate() {
            let lines = PACKED / depth_of(blocks).max(1);
            for columns in cut(0..self.n, lines, micro.columns) {
                let right = self.columns(columns.clone(), self.m, &micro);
                with_scratch(&COLUMNS, right.floats(blocks), |b| {
                    let b = Slot(b.as_mut_ptr());
                    // SAFETY: the caller's contract.
                    unsafe { right.pack(blocks, b, parallel) };
                    let one = |[rows, columns]: [Range<usize>; 2]| {
                        let left = self.rows(rows.clone(), self.n, &micro);
                        with_scratch(&ROWS, left.floats(blocks), |a| {
                            let a = Slot(a.as_mut_ptr());
                            // SAFETY: the caller's contract; tiles are different parts of c.
                            unsafe { left.pack(blocks, a, false) };
                            for columns in cut(columns, TILE, micro.columns) {
                                let tile = [rows.clone(), columns];
                                // SAFETY: as above.
                                unsafe { self.multiply(&micro, blocks, [&left, &right], [a, b], tile, number == 0) };
                            }
                        });
                    };
                    let tiles = tiles(self.m, &columns, depth_of(blocks), &micro, threads);
                    if parallel {
                        tiles.into_par_iter().with_max_len(1).for_each(one);
                    } else {
                        tiles.into_iter().for_each(one);
                    }
                });
            }
        }
    }

    /// The same with its rows one after the other, from `c` on.
    fn laid(&self, c: *mut f32) -> Self {
        Self { c, c_rows: Steps::Even(self.n as isize), c_column: 1, ..*self }
    }

    /// Multiplies panel of rows by panel of rows, and has each finished while it is in the cache. A product without
    /// memory for its result (c is null) leaves it to `finish`.
    ///
    /// # Safety
    /// As [`Self::run`].
    pub unsafe fn run_panels(&self, parallel: bool, finish: Finish<'_>) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        let micro = Micro::of_this_processor();
        let blocks = &blocks(self, micro.depth)[..];
        let depth = depth_of(blocks);
        let parallel = self.pays(parallel);
        if self.as_small().is_some() {
            return with_scratch(&RESULT, if self.c.is_null() { self.m * self.n } else { 0 }, |result| {
                let start = if self.c.is_null() { result.as_mut_ptr() } else { std::ptr::null_mut() };
                // SAFETY: the caller's contract.
                unsafe { if self.c.is_null() { self.laid(start).run(parallel) } else { self.run(parallel) } };
                finish(0..self.m, start);
            });
        }
        let right = self.columns(0..self.n, self.m, &micro);
        with_scratch(&COLUMNS, right.floats(blocks), |b| {
            let b = Slot(b.as_mut_ptr());
            // SAFETY: the caller's contract.
            unsafe { right.pack(blocks, b, parallel) };
            let longest = (PANEL / self.n.max(depth).max(1)).max(4 * micro.rows);
            let fair = if parallel { self.m.div_ceil(2 * rayon::current_num_threads()) } else { self.m };
            let one = |rows: Range<usize>| {
                let left = self.rows(rows.clone(), self.n, &micro);
                with_scratch(&ROWS, left.floats(blocks), |a| {
                    let a = Slot(a.as_mut_ptr());
                    let sides = [&left, &right];
                    // SAFETY: the caller's contract; panels are different parts of c.
                    unsafe {
                        left.pack(blocks, a, false);
                        if !self.c.is_null() {
                            self.multiply(&micro, blocks, sides, [a, b], [rows.clone(), 0..self.n], true);
                            return finish(rows, std::ptr::null_mut());
                        }
                        with_scratch(&RESULT, rows.len() * self.n, |result| {
                            let start = result.as_mut_ptr();
                            let here = self.laid(start.wrapping_sub(rows.start * self.n));
                            here.multiply(&micro, blocks, sides, [a, b], [rows.clone(), 0..self.n], true);
                            finish(rows, start);
                        });
                    }
                });
            };
            let panels: Vec<_> = cut(0..self.m, longest.min(fair.max(1)), micro.rows).collect();
            if parallel {
                panels.into_par_iter().with_max_len(1).for_each(one);
            } else {
                panels.into_iter().for_each(one);
            }
        });
    }
}

/// Tiles of a part of the result: panels of rows, which whoever computes them packs for himself, cut along the columns
/// too where they would be too few to keep all threads busy.
fn tiles(rows: usize, columns: &Range<usize>, depth: usize, micro: &Micro, threads: usize) -> Vec<[Range<usize>; 2]> {
    let fewest = if threads > 1 { TASKS * threads } else { 1 };
    let high = (PANEL / depth.max(1)).clamp(HIGH.start, HIGH.end).min(rows.div_ceil(fewest).max(HIGH.start));
    let panels = cut(0..rows, high, micro.rows);
    let parts = fewest / panels.clone().count();
    let wide = columns.len().div_ceil(parts.max(1)).max(WIDE);
    panels
        .flat_map(|rows| cut(columns.clone(), wide, micro.columns).map(move |columns| [rows.clone(), columns]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_covers_a_range_once() {
        for (length, most, unit) in [(0, 4, 6), (1, 4, 6), (100, 24, 6), (96, 96, 6), (257, 256, 16), (7, 1, 6)] {
            let parts: Vec<_> = cut(10..10 + length, most, unit).collect();
            assert_eq!(parts.iter().cloned().flatten().collect::<Vec<_>>(), (10..10 + length).collect::<Vec<_>>());
            assert!(parts.iter().rev().skip(1).all(|part| part.len() % unit == 0));
            assert!(parts.iter().all(|part| part.len() < most.max(unit) + unit && !part.is_empty()));
        }
    }
}
