//! The matrices of a product, wherever their elements lie, and packing them for the micro-kernels.

use crate::cpu::tape::element::{Brain, Element, Half, Word};
use crate::plan::StorageType;

/// Depths that are packed together.
const TOGETHER: usize = 32;

/// Offsets of an index along one side of a matrix, in elements: evenly spaced, or looked up (rows of one expert).
#[derive(Clone, Copy)]
pub enum Steps<'a> {
    Even(isize),
    At(&'a [isize]),
}

impl Steps<'_> {
    #[inline(always)]
    pub fn offset(&self, index: usize) -> isize {
        match self {
            Self::Even(stride) => stride * index as isize,
            Self::At(offsets) => offsets[index],
        }
    }
}

/// A factor: lines (rows of a, columns of b) times the depth that is summed over.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub start: *const u8,
    pub dtype: StorageType,
    pub lines: Steps<'a>,
    pub depth: Steps<'a>,
    /// Where each run of the depth starts.
    pub runs: &'a [isize],
}

// SAFETY: a description; who reads it promises that nobody writes there meanwhile.
unsafe impl Send for Operand<'_> {}
// SAFETY: as above.
unsafe impl Sync for Operand<'_> {}

impl Operand<'_> {
    /// Copies all lines of a run, one after the other.
    ///
    /// # Safety
    /// They are readable.
    pub unsafe fn copy_lines(&self, run: usize, lines: usize, depth: usize, to: &mut [f32]) {
        // SAFETY: the caller's contract.
        unsafe {
            match self.dtype {
                StorageType::F16 => self.copy_as::<Half>(run, lines, depth, to),
                StorageType::Bf16 => self.copy_as::<Brain>(run, lines, depth, to),
                _ => self.copy_as::<Word>(run, lines, depth, to),
            }
        }
    }

    unsafe fn copy_as<E: Element>(&self, run: usize, lines: usize, depth: usize, to: &mut [f32]) {
        let start = self.start.cast::<E::Raw>().wrapping_offset(self.runs[run]);
        for line in 0..lines {
            let from = start.wrapping_offset(self.lines.offset(line));
            for k in 0..depth {
                // SAFETY: the caller's contract.
                to[line * depth + k] = f32::from_bits(E::widen(unsafe { *from.offset(self.depth.offset(k)) }));
            }
        }
    }
}

/// A part of an operand: `lines` from `line` on, `depth` from `deep` on of a run of the depth.
#[derive(Clone, Copy)]
pub struct Part {
    pub line: usize,
    pub lines: usize,
    pub run: usize,
    pub deep: usize,
    pub depth: usize,
}

/// Packs a part: sliver by sliver of as many lines as the micro-kernel takes, each sliver's lines side by side for
/// every depth, zeros where lines are missing.
///
/// # Safety
/// The part is inside the operand's readable elements; `to` has room for whole slivers.
pub type Pack = unsafe fn(&Operand<'_>, Part, *mut f32);

/// # Safety
/// As [`Pack`]; call it compiled for this processor.
#[inline(always)]
pub unsafe fn pack<const L: usize, const AVX: bool>(operand: &Operand<'_>, part: Part, to: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        match operand.dtype {
            StorageType::F16 => pack_as::<Half, L, false>(operand, part, to),
            StorageType::Bf16 => pack_as::<Brain, L, false>(operand, part, to),
            _ => pack_as::<Word, L, AVX>(operand, part, to),
        }
    }
}

#[inline(always)]
unsafe fn pack_as<E: Element, const L: usize, const AVX: bool>(operand: &Operand<'_>, part: Part, to: *mut f32) {
    let start = operand.start.cast::<E::Raw>().wrapping_offset(operand.runs[part.run]);
    let to = to.cast::<u32>();
    if let Steps::Even(1) = operand.lines {
        // SAFETY: the caller's contract.
        return unsafe { beside::<E, L>(start.add(part.line), operand.depth, part, to) };
    }
    let mut line = 0;
    while line < part.lines {
        let count = L.min(part.lines - line);
        let to = to.wrapping_add(line * part.depth);
        let first = part.line + line;
        // SAFETY: the caller's contract.
        unsafe {
            if let Steps::Even(1) = operand.depth {
                // Missing lines read an existing one, and are cleared.
                let mut starts = [start; L];
                for (i, each) in starts.iter_mut().enumerate() {
                    *each = start.offset(operand.lines.offset(first + i.min(count - 1)) + part.deep as isize);
                }
                along::<E, L, AVX>(&starts, part.depth, to);
                clear::<L>(count, part.depth, to);
            } else {
                for k in 0..part.depth {
                    let deep = start.offset(operand.depth.offset(part.deep + k));
                    for i in 0..count {
                        *to.add(k * L + i) = E::widen(*deep.offset(operand.lines.offset(first + i)));
                    }
                }
                clear::<L>(count, part.depth, to);
            }
        }
        line += L;
    }
}

/// Lines that lie side by side: some depths at a time, so that what is read and what is written both run on.
#[inline(always)]
unsafe fn beside<E: Element, const L: usize>(from: *const E::Raw, depth: Steps<'_>, part: Part, to: *mut u32) {
    let whole = part.lines / L * L;
    let mut start = 0;
    while start < part.depth {
        let end = part.depth.min(start + TOGETHER);
        let mut line = 0;
        while line < part.lines {
            let count = L.min(part.lines - line);
            for k in start..end {
                // SAFETY: the caller's contract.
                unsafe {
                    let from = from.offset(depth.offset(part.deep + k)).add(line);
                    let to = to.add(line * part.depth + k * L);
                    // Whole vectors: what is copied too much, the next depth overwrites.
                    if line + L.next_multiple_of(8) <= part.lines && k + 1 < part.depth {
                        for eight in (0..L).step_by(8) {
                            copy_eight::<E>(from.add(eight), to.add(eight));
                        }
                    } else {
                        for i in 0..count {
                            *to.add(i) = E::widen(*from.add(i));
                        }
                    }
                }
            }
            line += L;
        }
        start = end;
    }
    // SAFETY: the caller's contract.
    unsafe { clear::<L>(part.lines - whole, part.depth, to.add(whole * part.depth)) };
}

/// Eight elements, all read before the first is written: for all the compiler knows the places could overlap, and it
/// would copy one by one.
#[inline(always)]
unsafe fn copy_eight<E: Element>(from: *const E::Raw, to: *mut u32) {
    let mut values = [0; 8];
    // SAFETY: the caller's contract: eight elements are readable, and there is room for as many.
    unsafe {
        for (i, value) in values.iter_mut().enumerate() {
            *value = E::widen(*from.add(i));
        }
        to.cast::<[u32; 8]>().write_unaligned(values);
    }
}

/// Lines whose depth runs on in memory.
#[inline(always)]
unsafe fn along<E: Element, const L: usize, const AVX: bool>(starts: &[*const E::Raw; L], depth: usize, to: *mut u32) {
    let mut k = 0;
    #[cfg(target_arch = "x86_64")]
    if AVX {
        // Eight lines at a time are turned in registers. Where fewer are left, what is stored too much is overwritten
        // by the next depth; the last depths are done one by one.
        while k + 8 + 8usize.div_ceil(L) <= depth {
            let mut group = 0;
            while group < L {
                let mut eight = [starts[L - 1].cast::<f32>().wrapping_add(k); 8];
                for (i, from) in eight.iter_mut().enumerate() {
                    if group + i < L {
                        *from = starts[group + i].cast::<f32>().wrapping_add(k);
                    }
                }
                // SAFETY: eight floats of each line are inside; so is what is stored (see above).
                unsafe { x86::turn::<L>(&eight, to.cast::<f32>().add(k * L + group)) };
                group += 8;
            }
            k += 8;
        }
    }
    while k < depth {
        for (i, from) in starts.iter().enumerate() {
            // SAFETY: the caller's contract.
            unsafe { *to.add(k * L + i) = E::widen(*from.add(k)) };
        }
        k += 1;
    }
}

/// Zeros for the lines from `count` on that a sliver lacks; a sliver without lines is none.
#[inline(always)]
unsafe fn clear<const L: usize>(count: usize, depth: usize, to: *mut u32) {
    if count == 0 || count == L {
        return;
    }
    for k in 0..depth {
        for i in count..L {
            // SAFETY: inside the sliver.
            unsafe { *to.add(k * L + i) = 0 };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Eight floats of each of eight lines, stored line beside line, L floats from one depth to the next, in the order
    /// of the depths.
    ///
    /// # Safety
    /// AVX; eight readable floats each, and room for eight floats at each of eight depths.
    #[inline(always)]
    pub unsafe fn turn<const L: usize>(lines: &[*const f32; 8], to: *mut f32) {
        const { assert!(L < 8 || L.is_multiple_of(8), "what is stored too much would hit another group of eight lines") };
        // SAFETY: the caller's contract.
        unsafe {
            let mut rows = [_mm256_setzero_ps(); 8];
            for (row, &line) in rows.iter_mut().zip(lines) {
                *row = _mm256_loadu_ps(line);
            }
            let mut quads = [_mm256_setzero_ps(); 8];
            for half in 0..2 {
                let [a, b, c, d] = [rows[half * 4], rows[half * 4 + 1], rows[half * 4 + 2], rows[half * 4 + 3]];
                let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (next_low, next_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                quads[half * 4] = _mm256_shuffle_ps(low, next_low, 0x44);
                quads[half * 4 + 1] = _mm256_shuffle_ps(low, next_low, 0xee);
                quads[half * 4 + 2] = _mm256_shuffle_ps(high, next_high, 0x44);
                quads[half * 4 + 3] = _mm256_shuffle_ps(high, next_high, 0xee);
            }
            for k in 0..4 {
                _mm256_storeu_ps(to.add(k * L), _mm256_permute2f128_ps(quads[k], quads[k + 4], 0x20));
            }
            for k in 0..4 {
                _mm256_storeu_ps(to.add((k + 4) * L), _mm256_permute2f128_ps(quads[k], quads[k + 4], 0x31));
            }
        }
    }
}
