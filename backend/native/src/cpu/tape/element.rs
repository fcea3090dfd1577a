//! Elements in memory and words in registers.

use crate::cpu::convert;

/// How an element lies in memory.
pub trait Element {
    type Raw: Copy;
    fn widen(raw: Self::Raw) -> u32;
    fn narrow(word: u32) -> Self::Raw;
}

pub struct Word;
pub struct Half;
pub struct Brain;

impl Element for Word {
    type Raw = u32;
    #[inline(always)]
    fn widen(raw: u32) -> u32 {
        raw
    }
    #[inline(always)]
    fn narrow(word: u32) -> u32 {
        word
    }
}

impl Element for Half {
    type Raw = u16;
    #[inline(always)]
    fn widen(raw: u16) -> u32 {
        convert::from_f16(raw).to_bits()
    }
    #[inline(always)]
    fn narrow(word: u32) -> u16 {
        convert::to_f16(f32::from_bits(word))
    }
}

impl Element for Brain {
    type Raw = u16;
    #[inline(always)]
    fn widen(raw: u16) -> u32 {
        convert::from_bf16(raw).to_bits()
    }
    #[inline(always)]
    fn narrow(word: u32) -> u16 {
        convert::to_bf16(f32::from_bits(word))
    }
}
