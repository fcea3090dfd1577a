//! Products with few rows (decoding: 1–16 tokens times a weight matrix). The weights are read once, as they lie; those of
//! 16 bits are widened in registers.

use super::simd::{self, Vector};
use super::tape::element::{Brain, Element, Half, Word};
use crate::plan::StorageType;

/// Rows at most; beyond, packing pays.
pub const MAX_ROWS: usize = 16;

/// Columns of `c` that a task works on at a time where the weights' columns run fastest: the block of `c` stays in the
/// first-level cache while the weights stream by.
const BLOCK: usize = 512;

/// How far ahead of the weights in use they are fetched into the second-level cache, in bytes. Weights are read once:
/// what counts is how many of a memory's answers are under way. A processor fetches ahead by itself where it sees one
/// long run, but not in columns side by side that end after a kilobyte each.
const AHEAD: usize = 4608;

/// Bytes that memory answers with at once.
const LINE: usize = 64;

/// c[m, n] = Σ a[m, k] · b[k, n] (added to c if `add`), with a's rows contiguous.
#[derive(Clone, Copy)]
pub struct Small {
    pub rows: usize,
    pub depth: usize,
    /// Row i at `a + i · row_stride`, each contiguous.
    pub a: *const f32,
    pub row_stride: usize,
    pub b: *const u8,
    /// f32, f16 or bf16.
    pub b_dtype: StorageType,
    /// Strides of b, in elements.
    pub b_depth: isize,
    pub b_column: isize,
    pub c: *mut f32,
    pub c_row: isize,
    pub c_column: isize,
    pub add: bool,
}

// SAFETY: tasks share the operands for reading, and write different columns of c.
unsafe impl Sync for Small {}
// SAFETY: as above.
unsafe impl Send for Small {}

/// Weights as they lie in memory.
trait Weight: Element {
    /// # Safety
    /// As `V::load`, of as many elements.
    unsafe fn load<V: Vector>(from: *const Self::Raw) -> V;

    #[inline(always)]
    fn value(raw: Self::Raw) -> f32 {
        f32::from_bits(Self::widen(raw))
    }
}

impl Weight for Word {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u32) -> V {
        // SAFETY: the caller's contract.
        unsafe { V::load(from.cast()) }
    }
}

impl Weight for Half {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u16) -> V {
        // SAFETY: the caller's contract.
        unsafe { V::load_f16(from) }
    }
}

impl Weight for Brain {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u16) -> V {
        // SAFETY: the caller's contract.
        unsafe { V::load_bf16(from) }
    }
}

type Columns = unsafe fn(&Small, usize, usize);

impl Small {
    /// Is one of the weights' axes contiguous? Otherwise this is no better than packing.
    pub fn fits(rows: usize, b_depth: isize, b_column: isize) -> bool {
        rows <= MAX_ROWS && (b_depth == 1 || b_column == 1)
    }

    /// The function that computes columns `from .. to`.
    ///
    /// # Safety of the result
    /// All operands are readable and writable over their extents, c overlaps neither a nor b, and no two threads
    /// work on the same columns. [`Self::fits`].
    pub fn columns(&self) -> Columns {
        match self.b_dtype {
            StorageType::F16 => self.columns_of::<Half>(),
            StorageType::Bf16 => self.columns_of::<Brain>(),
            _ => self.columns_of::<Word>(),
        }
    }

    fn columns_of<W: Weight>(&self) -> Columns {
        let deep = self.b_depth == 1;
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return if deep { dots_avx512::<W> } else { rows_avx512::<W> };
            }
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("f16c") {
                return if deep { dots_avx2::<W> } else { rows_avx2::<W> };
            }
        }
        if deep { dots_plain::<W> } else { rows_plain::<W> }
    }

    /// # Safety
    /// `row`, `column` are inside c.
    #[inline(always)]
    unsafe fn finish(&self, row: usize, column: usize, value: f32) {
        // SAFETY: the caller's contract.
        unsafe {
            let to = self.c.offset(row as isize * self.c_row + column as isize * self.c_column);
            *to = if self.add { *to + value } else { value };
        }
    }
}

macro_rules! variants {
    ($feature:literal, $vector:ty, $dots:ident, $rows:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $feature)]
        unsafe fn $dots<W: Weight>(product: &Small, from: usize, to: usize) {
            // SAFETY: the caller's contract; this processor has the instructions.
            unsafe { dots::<$vector, W>(product, from, to) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $feature)]
        unsafe fn $rows<W: Weight>(product: &Small, from: usize, to: usize) {
            // SAFETY: the caller's contract; this processor has the instructions.
            unsafe { stream::<$vector, W>(product, from, to) }
        }
    };
}

variants!("avx2,fma,f16c", simd::Avx2, dots_avx2, rows_avx2);
variants!("avx512f,avx2,fma", simd::Avx512, dots_avx512, rows_avx512);

unsafe fn dots_plain<W: Weight>(product: &Small, from: usize, to: usize) {
    // SAFETY: the caller's contract.
    unsafe { dots::<simd::Plain, W>(product, from, to) }
}

unsafe fn rows_plain<W: Weight>(product: &Small, from: usize, to: usize) {
    // SAFETY: the caller's contract.
    unsafe { stream::<simd::Plain, W>(product, from, to) }
}

/// Adds a vector's products of M rows and N columns to their sums.
///
/// # Safety
/// The rows and columns are readable for a vector from `k` on.
#[inline(always)]
unsafe fn step<V: Vector, W: Weight, const M: usize, const N: usize>(
    a: &[*const f32; M],
    b: &[*const W::Raw; N],
    k: usize,
    sums: &mut [[V; N]; M],
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut weights = [V::splat(0.0); N];
        for j in 0..N {
            weights[j] = W::load::<V>(b[j].add(k));
        }
        for i in 0..M {
            let value = V::load(a[i].add(k));
            for j in 0..N {
                sums[i][j] = value.multiply_add(weights[j], sums[i][j]);
            }
        }
    }
}

/// M rows times N columns, the weights' depth being contiguous. Every dot product is summed in the same order,
/// whatever M and N: columns may be cut anywhere.
///
/// # Safety
/// As [`Small::columns`].
#[inline(always)]
unsafe fn tile<V: Vector, W: Weight, const M: usize, const N: usize>(product: &Small, row: usize, column: usize) {
    let depth = product.depth;
    // SAFETY: rows and columns are inside the operands, each `depth` floats long.
    unsafe {
        // Loops, not `array::from_fn`: a closure in a library function is not compiled for these instructions.
        let mut a = [product.a; M];
        for (i, a) in a.iter_mut().enumerate() {
            *a = a.add((row + i) * product.row_stride);
        }
        let mut b = [product.b.cast::<W::Raw>(); N];
        for (j, b) in b.iter_mut().enumerate() {
            *b = b.offset((column + j) as isize * product.b_column);
        }
        let mut sums = [[V::splat(0.0); N]; M];
        let whole = depth - depth % V::WIDTH;
        let line = LINE / size_of::<W::Raw>();
        // Columns that lie one behind the other are fetched in the order of memory; rows after the first find them.
        let fetched = if row == 0 && product.b_column == depth as isize { whole - whole % line } else { 0 };
        let mut next = b[0].cast::<u8>().wrapping_add(AHEAD);
        let mut k = 0;
        while k < fetched {
            for _ in 0..N {
                simd::fetch(next);
                next = next.wrapping_add(LINE);
            }
            for k in (k..k + line).step_by(V::WIDTH) {
                step::<V, W, M, N>(&a, &b, k, &mut sums);
            }
            k += line;
        }
        while k < whole {
            step::<V, W, M, N>(&a, &b, k, &mut sums);
            k += V::WIDTH;
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let mut total = sum.sum();
                for k in whole..depth {
                    total = V::multiply_add_one(*a[i].add(k), W::value(*b[j].add(k)), total);
                }
                product.finish(row + i, column + j, total);
            }
        }
    }
}

/// Columns whose weights stay in the second-level cache while all rows pass by. A multiple of a tile's columns.
const COLUMNS: usize = 48;

/// # Safety
/// As [`Small::columns`].
#[inline(always)]
unsafe fn dots<V: Vector, W: Weight>(product: &Small, from: usize, to: usize) {
    let mut first = from;
    while first < to {
        let end = to.min(first + COLUMNS);
        let mut row = 0;
        while row < product.rows {
            let rest = product.rows - row;
            // SAFETY: inside `from .. to` and the rows.
            unsafe {
                match rest {
                    1 => band::<V, W, 1, 4>(product, row, first, end),
                    2 => band::<V, W, 2, 4>(product, row, first, end),
                    3 => band::<V, W, 3, 4>(product, row, first, end),
                    // Twelve sums, three vectors of weights and one of a row: all sixteen registers of AVX2.
                    _ => band::<V, W, 4, 3>(product, row, first, end),
                }
            }
            row += rest.min(4);
        }
        first = end;
    }
}

/// M rows times columns `from .. to`, N at a time.
///
/// # Safety
/// As [`Small::columns`], for M rows from `row` on.
#[inline(always)]
unsafe fn band<V: Vector, W: Weight, const M: usize, const N: usize>(
    product: &Small,
    row: usize,
    from: usize,
    to: usize,
) {
    let mut column = from;
    // SAFETY: the caller's contract.
    unsafe {
        while column + N <= to {
            tile::<V, W, M, N>(product, row, column);
            column += N;
        }
        while column < to {
            tile::<V, W, M, 1>(product, row, column);
            column += 1;
        }
    }
}

/// Adds M rows of a times four (or fewer) rows of the weights to a block of sums.
///
/// # Safety
/// As [`Small::columns`]; the sums are `rows` rows of `BLOCK` floats.
#[inline(always)]
unsafe fn accumulate<V: Vector, W: Weight, const K: usize>(
    product: &Small,
    sums: &mut [f32],
    k: usize,
    from: usize,
    count: usize,
) {
    // SAFETY: columns `from .. from + count` of rows `k .. k + K` are inside b, and row k … of a.
    unsafe {
        let mut b = [product.b.cast::<W::Raw>(); K];
        for (i, b) in b.iter_mut().enumerate() {
            *b = b.offset((k + i) as isize * product.b_depth).add(from);
        }
        for row in 0..product.rows {
            let a = product.a.add(row * product.row_stride + k);
            let mut factors = [0.0; K];
            let mut vectors = [V::splat(0.0); K];
            for i in 0..K {
                factors[i] = *a.add(i);
                vectors[i] = V::splat(factors[i]);
            }
            let sums = &mut sums[row * BLOCK..row * BLOCK + count];
            let to = sums.as_mut_ptr();
            let whole = count - count % V::WIDTH;
            let mut column = 0;
            while column < whole {
                let mut sum = V::load(to.add(column));
                for i in 0..K {
                    sum = vectors[i].multiply_add(W::load::<V>(b[i].add(column)), sum);
                }
                sum.store(to.add(column));
                column += V::WIDTH;
            }
            for column in whole..count {
                let mut sum = *to.add(column);
                for i in 0..K {
                    sum = V::multiply_add_one(factors[i], W::value(*b[i].add(column)), sum);
                }
                *to.add(column) = sum;
            }
        }
    }
}

/// # Safety
/// As [`Small::columns`].
#[inline(always)]
unsafe fn stream<V: Vector, W: Weight>(product: &Small, from: usize, to: usize) {
    let mut sums = [0.0; MAX_ROWS * BLOCK];
    let mut column = from;
    while column < to {
        let count = BLOCK.min(to - column);
        sums[..product.rows * BLOCK].fill(0.0);
        let mut k = 0;
        // SAFETY: the caller's contract.
        unsafe {
            while k + 4 <= product.depth {
                accumulate::<V, W, 4>(product, &mut sums, k, column, count);
                k += 4;
            }
            while k < product.depth {
                accumulate::<V, W, 1>(product, &mut sums, k, column, count);
                k += 1;
            }
            for row in 0..product.rows {
                for i in 0..count {
                    product.finish(row, column + i, sums[row * BLOCK + i]);
                }
            }
        }
        column += count;
    }
}
