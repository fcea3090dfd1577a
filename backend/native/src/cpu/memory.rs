//! Memory of buffers and of the arena.

use std::alloc::{Layout, alloc_zeroed, dealloc};

use crate::ensure;
use crate::error::{Error, Result};

/// Every piece of memory starts at a multiple of this: a cache line, and a vector of AVX-512.
const ALIGNMENT: usize = 64;

/// Zeroed bytes that start at a multiple of 64.
///
/// The system's allocator clears over-aligned memory by hand, touching every page; it is asked for a little more at
/// its own alignment instead, so that large buffers cost nothing before they are used.
pub struct Memory {
    block: *mut u8,
    layout: Layout,
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone; who may touch it when is the owner's business, as with a Vec.
unsafe impl Send for Memory {}
// SAFETY: a shared reference gives out the address and nothing else.
unsafe impl Sync for Memory {}

impl Memory {
    pub fn zeroed(bytes: u64) -> Result<Self> {
        let refused = || Error(format!("cannot allocate {bytes} bytes"));
        let size = usize::try_from(bytes).map_err(|_| refused())?;
        let padded = size.checked_add(2 * ALIGNMENT).ok_or_else(refused)?;
        let layout = Layout::from_size_align(padded, 16).map_err(|_| refused())?;
        // SAFETY: the layout's size is not 0.
        let block = unsafe { alloc_zeroed(layout) };
        ensure!(!block.is_null(), "cannot allocate {bytes} bytes: out of memory");
        // SAFETY: at most 63 bytes further, and the block is 128 bytes longer than needed.
        let start = unsafe { block.add(block.align_offset(ALIGNMENT)) };
        Ok(Self { block, layout, start, bytes: size })
    }

    pub fn start(&self) -> *mut u8 {
        self.start
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes `offset .. offset + length`, if they are inside.
    pub fn part(&self, offset: u64, length: usize) -> Result<*mut u8> {
        let inside = usize::try_from(offset)
            .ok()
            .filter(|&start| start.checked_add(length).is_some_and(|end| end <= self.bytes));
        let Some(start) = inside else {
            crate::fail!("{length} bytes from byte {offset} on of a buffer that has {}", self.bytes)
        };
        // SAFETY: inside the memory.
        Ok(unsafe { self.start.add(start) })
    }

    pub fn fill(&mut self, word: u32) {
        // SAFETY: the memory is ours alone (`&mut`), aligned for words, and initialised.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast::<u32>(), self.bytes / 4) }.fill(word);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.block, self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_bounded() {
        let memory = Memory::zeroed(100).unwrap();
        assert_eq!(memory.start() as usize % 64, 0);
        // SAFETY: 100 initialised bytes.
        assert!(unsafe { std::slice::from_raw_parts(memory.start(), 100) }.iter().all(|&byte| byte == 0));
        assert!(memory.part(90, 10).is_ok());
        assert!(memory.part(91, 10).is_err());
        assert!(memory.part(u64::MAX, 10).is_err());
        assert!(Memory::zeroed(u64::MAX).is_err());
        assert_eq!(Memory::zeroed(0).unwrap().bytes(), 0);
    }
}
