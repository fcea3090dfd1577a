//! Vectors of f32 for the hand-written products: one code, compiled for each instruction set.

use super::convert;

/// A vector and what it can do.
///
/// # Safety
/// Call the methods only where the processor has the implementing type's instructions, and pointers only to as many
/// readable (or writable) floats as the vector is wide.
pub trait Vector: Copy {
    const WIDTH: usize;
    /// Does [`Self::multiply_add_one`] round once?
    const FUSED: bool;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// As many bfloat16 numbers, widened.
    unsafe fn load_bf16(from: *const u16) -> Self;
    /// As many IEEE halfs, widened.
    unsafe fn load_f16(from: *const u16) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// self · b + c
    unsafe fn multiply_add(self, b: Self, c: Self) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    /// The lanes' sum, always joined in the same order.
    unsafe fn sum(self) -> f32;

    /// The same on one number.
    #[inline(always)]
    fn multiply_add_one(a: f32, b: f32, c: f32) -> f32 {
        if Self::FUSED { a.mul_add(b, c) } else { a * b + c }
    }
}

/// Asks for the memory at an address, which need not exist, to be in the second-level cache soon.
#[inline(always)]
pub fn fetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this kind has the instruction, which reads nothing and never fails.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Sum of eight lanes, halving.
#[inline(always)]
fn halve(lanes: [f32; 8]) -> f32 {
    let four = [lanes[0] + lanes[4], lanes[1] + lanes[5], lanes[2] + lanes[6], lanes[3] + lanes[7]];
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Whatever the compiler makes of eight floats.
#[derive(Clone, Copy)]
pub struct Plain([f32; 8]);

impl Vector for Plain {
    const WIDTH: usize = 8;
    const FUSED: bool = cfg!(target_arch = "aarch64");
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: the caller's contract.
        let bits = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        let mut lanes = [0.0; 8];
        for (lane, bits) in lanes.iter_mut().zip(bits) {
            *lane = convert::from_bf16(bits);
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: the caller's contract.
        let bits = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        let mut lanes = [0.0; 8];
        for (lane, bits) in lanes.iter_mut().zip(bits) {
            *lane = convert::from_f16(bits);
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) };
    }
    #[inline(always)]
    unsafe fn multiply_add(self, b: Self, c: Self) -> Self {
        let mut lanes = c.0;
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum = Self::multiply_add_one(self.0[lane], b.0[lane], *sum);
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        let mut lanes = self.0;
        for (lane, b) in lanes.iter_mut().zip(b.0) {
            *lane += b;
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        halve(self.0)
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64 as arch;

    use super::{Vector, halve};

    #[derive(Clone, Copy)]
    pub struct Avx2(arch::__m256);

    impl Vector for Avx2 {
        const WIDTH: usize = 8;
        const FUSED: bool = true;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see `splat`; eight floats.
            Self(unsafe { arch::_mm256_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see `splat`.
            Self(unsafe { arch::_mm256_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn load_bf16(from: *const u16) -> Self {
            // SAFETY: see `splat`.
            unsafe {
                let words = arch::_mm256_cvtepu16_epi32(arch::_mm_loadu_si128(from.cast()));
                Self(arch::_mm256_castsi256_ps(arch::_mm256_slli_epi32::<16>(words)))
            }
        }
        #[inline(always)]
        unsafe fn load_f16(from: *const u16) -> Self {
            // SAFETY: see `splat`; every processor with AVX2 converts halfs, and who calls this has asked.
            Self(unsafe { arch::_mm256_cvtph_ps(arch::_mm_loadu_si128(from.cast())) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see `splat`.
            unsafe { arch::_mm256_storeu_ps(to, self.0) };
        }
        #[inline(always)]
        unsafe fn multiply_add(self, b: Self, c: Self) -> Self {
            // SAFETY: see `splat`.
            Self(unsafe { arch::_mm256_fmadd_ps(self.0, b.0, c.0) })
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            // SAFETY: see `splat`.
            Self(unsafe { arch::_mm256_add_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            let mut lanes = [0.0; 8];
            // SAFETY: see `splat`; eight floats.
            unsafe { self.store(lanes.as_mut_ptr()) };
            halve(lanes)
        }
    }

    #[derive(Clone, Copy)]
    pub struct Avx512(arch::__m512);

    impl Vector for Avx512 {
        const WIDTH: usize = 16;
        const FUSED: bool = true;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see `Avx2::splat`.
            Self(unsafe { arch::_mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see `Avx2::splat`.
            Self(unsafe { arch::_mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn load_bf16(from: *const u16) -> Self {
            // SAFETY: see `Avx2::splat`.
            unsafe {
                let words = arch::_mm512_cvtepu16_epi32(arch::_mm256_loadu_si256(from.cast()));
                Self(arch::_mm512_castsi512_ps(arch::_mm512_slli_epi32::<16>(words)))
            }
        }
        #[inline(always)]
        unsafe fn load_f16(from: *const u16) -> Self {
            // SAFETY: see `Avx2::splat`.
            Self(unsafe { arch::_mm512_cvtph_ps(arch::_mm256_loadu_si256(from.cast())) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see `Avx2::splat`.
            unsafe { arch::_mm512_storeu_ps(to, self.0) };
        }
        #[inline(always)]
        unsafe fn multiply_add(self, b: Self, c: Self) -> Self {
            // SAFETY: see `Avx2::splat`.
            Self(unsafe { arch::_mm512_fmadd_ps(self.0, b.0, c.0) })
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            // SAFETY: see `Avx2::splat`.
            Self(unsafe { arch::_mm512_add_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            let mut lanes = [0.0; 16];
            // SAFETY: see `Avx2::splat`; sixteen floats.
            unsafe { self.store(lanes.as_mut_ptr()) };
            let mut eight = [0.0; 8];
            for (lane, sum) in eight.iter_mut().enumerate() {
                *sum = lanes[lane] + lanes[lane + 8];
            }
            halve(eight)
        }
    }
}
