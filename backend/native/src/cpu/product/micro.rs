//! Micro-kernels: a tile of the result from packed slivers, held in registers; one code, compiled for each
//! instruction set.

use super::operand::{Pack, Steps, pack};
use crate::cpu::simd::{self, Vector};

/// Rows and columns of any micro-kernel's tile, at most.
const MAX_TILE: usize = 8 * 32;

/// Where a tile's lines of an operand lie, for one block of the depth.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    /// Slivers, from the tile's first line on; of an operand that is read as it lies, its last sliver if that is not
    /// whole.
    pub packed: *const f32,
    pub direct: Option<Direct<'a>>,
}

/// Lines read as they lie.
#[derive(Clone, Copy)]
pub struct Direct<'a> {
    /// Line 0 at the block's first depth.
    pub start: *const f32,
    pub lines: Steps<'a>,
    /// From one depth to the next.
    pub step: isize,
    /// Number of the tile's first line.
    pub line: usize,
}

/// Products of a block of the depth, written to a part of the result.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    pub a: Lines<'a>,
    /// Lines read as they lie are neighbours.
    pub b: Lines<'a>,
    pub depth: usize,
    pub rows: usize,
    pub columns: usize,
    /// Where the first column of row 0 goes.
    pub c: *mut f32,
    pub c_rows: Steps<'a>,
    /// Number of the first row.
    pub row: usize,
    pub c_column: isize,
    /// Adds to what is in c.
    pub add: bool,
}

/// The micro-kernels of an instruction set.
#[derive(Clone, Copy)]
pub struct Micro {
    pub rows: usize,
    pub columns: usize,
    /// Depth after which the sums go to memory: slivers of that length stay in the first-level cache.
    pub depth: usize,
    pub pack_rows: Pack,
    pub pack_columns: Pack,
    /// # Safety
    /// The slivers are packed as the tile says; its part of c is writable and nobody else's.
    pub multiply: unsafe fn(&Tile<'_>),
}

impl Micro {
    /// Those of this processor's best instruction set.
    pub fn of_this_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
            {
                return avx512::MICRO;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return avx2::MICRO;
            }
        }
        plain::MICRO
    }
}

macro_rules! instruction_set {
    ($name:ident, $vector:ty, $rows:literal, $columns:literal, $depth:literal, $turns:literal $(, $feature:literal)?) => {
        mod $name {
            use super::*;
            use crate::cpu::product::operand::{Operand, Part};

            pub const MICRO: Micro =
                Micro { rows: $rows, columns: $columns, depth: $depth, pack_rows, pack_columns, multiply };
            const _: () = assert!($rows * $columns <= MAX_TILE && 2 * <$vector>::WIDTH == $columns);

            $(#[target_feature(enable = $feature)])?
            unsafe fn pack_rows(operand: &Operand<'_>, part: Part, to: *mut f32) {
                // SAFETY: the caller's contract.
                unsafe { pack::<$rows, $turns>(operand, part, to) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn pack_columns(operand: &Operand<'_>, part: Part, to: *mut f32) {
                // SAFETY: the caller's contract.
                unsafe { pack::<$columns, $turns>(operand, part, to) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn multiply(tile: &Tile<'_>) {
                // SAFETY: the caller's contract.
                unsafe { super::multiply::<$vector, $rows>(tile) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(avx512, simd::Avx512, 8, 32, 192, true, "avx512f,avx2,fma");
#[cfg(target_arch = "x86_64")]
instruction_set!(avx2, simd::Avx2, 6, 16, 320, true, "avx2,fma");
instruction_set!(plain, simd::Plain, 6, 16, 320, false);

/// The sums of one micro-tile: M rows, two vectors of columns; both go `steps` further with every depth.
#[inline(always)]
unsafe fn sums<V: Vector, const M: usize>(
    mut a: [*const f32; M],
    mut b: *const f32,
    steps: [isize; 2],
    depth: usize,
) -> [[V; 2]; M] {
    // SAFETY: the lines are that long.
    unsafe {
        let mut sums = [[V::splat(0.0); 2]; M];
        for _ in 0..depth {
            let columns = [V::load(b), V::load(b.add(V::WIDTH))];
            for i in 0..M {
                let row = V::splat(*a[i]);
                sums[i][0] = row.multiply_add(columns[0], sums[i][0]);
                sums[i][1] = row.multiply_add(columns[1], sums[i][1]);
                a[i] = a[i].wrapping_offset(steps[0]);
            }
            b = b.wrapping_offset(steps[1]);
        }
        sums
    }
}

#[inline(always)]
unsafe fn multiply<V: Vector, const M: usize>(tile: &Tile<'_>) {
    let width = 2 * V::WIDTH;
    let mut column = 0;
    while column < tile.columns {
        let columns = width.min(tile.columns - column);
        let (b, b_step) = match tile.b.direct {
            Some(direct) if columns == width => (direct.start.wrapping_add(direct.line + column), direct.step),
            Some(_) => (tile.b.packed, width as isize),
            None => (tile.b.packed.wrapping_add(column * tile.depth), width as isize),
        };
        let mut row = 0;
        while row < tile.rows {
            let rows = M.min(tile.rows - row);
            let mut a = [tile.a.packed.wrapping_add(row * tile.depth); M];
            for (i, a) in a.iter_mut().enumerate() {
                *a = match tile.a.direct {
                    // Rows that are missing read an existing one.
                    Some(direct) => {
                        direct.start.wrapping_offset(direct.lines.offset(direct.line + row + i.min(rows - 1)))
                    }
                    None => a.wrapping_add(i),
                };
            }
            let steps = [tile.a.direct.map_or(M as isize, |direct| direct.step), b_step];
            // SAFETY: the caller's contract.
            unsafe {
                let sums = sums::<V, M>(a, b, steps, tile.depth);
                let to = tile.c.offset(tile.c_column * column as isize);
                if tile.c_column == 1 && columns == width {
                    for (i, sums) in sums.iter().enumerate() {
                        if i < rows {
                            let to = to.offset(tile.c_rows.offset(tile.row + row + i));
                            let (low, high) = (to, to.add(V::WIDTH));
                            if tile.add {
                                sums[0].add(V::load(low)).store(low);
                                sums[1].add(V::load(high)).store(high);
                            } else {
                                sums[0].store(low);
                                sums[1].store(high);
                            }
                        }
                    }
                } else {
                    let mut values = [0.0; MAX_TILE];
                    for (i, sums) in sums.iter().enumerate() {
                        sums[0].store(values.as_mut_ptr().add(i * width));
                        sums[1].store(values.as_mut_ptr().add(i * width + V::WIDTH));
                    }
                    for i in 0..rows {
                        let to = to.offset(tile.c_rows.offset(tile.row + row + i));
                        for j in 0..columns {
                            let to = to.offset(tile.c_column * j as isize);
                            *to = if tile.add { *to + values[i * width + j] } else { values[i * width + j] };
                        }
                    }
                }
            }
            row += M;
        }
        column += width;
    }
}
