//! Memory of buffers and of the arena.

#[cfg(target_os = "linux")]
mod pages;

use std::alloc::{Layout, alloc_zeroed, dealloc};

use crate::error::{Error, Result};
#[cfg(target_os = "linux")]
use pages::Piece;

/// Every piece of memory starts at a multiple of this: a cache line, and a vector of AVX-512.
const ALIGNMENT: usize = 64;

/// From so many bytes on, what is kept lies in huge pages.
#[cfg(target_os = "linux")]
const LARGE: usize = 64 << 10;

/// Zeroed bytes that start at a multiple of 64.
pub struct Memory {
    /// Holds the bytes.
    _block: Block,
    start: *mut u8,
    bytes: usize,
}

enum Block {
    Allocated {
        _block: Allocated,
    },
    #[cfg(target_os = "linux")]
    Paged {
        _piece: Piece,
    },
}

/// Of the system's allocator, which clears over-aligned memory by hand, touching every page; it is asked for a little
/// more at its own alignment instead, so that large buffers cost nothing before they are used.
struct Allocated {
    block: *mut u8,
    layout: Layout,
}

// SAFETY: the memory belongs to this value alone; who may touch it when is the owner's business, as with a Vec.
unsafe impl Send for Memory {}
// SAFETY: a shared reference gives out the address and nothing else.
unsafe impl Sync for Memory {}

impl Memory {
    pub fn zeroed(bytes: u64) -> Result<Self> {
        let size = usize::try_from(bytes).map_err(|_| refused(bytes))?;
        let (block, start) = Allocated::new(size).ok_or_else(|| refused(bytes))?;
        Ok(Self { _block: Block::Allocated { _block: block }, start, bytes: size })
    }

    /// The same for what many runs use, as weights are: in huge pages, if it is large. Memory that comes and goes is
    /// better off with the system's allocator, which keeps it at hand.
    pub fn kept(bytes: u64) -> Result<Self> {
        #[cfg(target_os = "linux")]
        {
            let size = usize::try_from(bytes).map_err(|_| refused(bytes))?;
            if size >= LARGE {
                let piece = Piece::new(size).ok_or_else(|| refused(bytes))?;
                let start = piece.start();
                return Ok(Self { _block: Block::Paged { _piece: piece }, start, bytes: size });
            }
        }
        Self::zeroed(bytes)
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

fn refused(bytes: u64) -> Error {
    Error(format!("cannot allocate {bytes} bytes: out of memory"))
}

impl Allocated {
    fn new(size: usize) -> Option<(Self, *mut u8)> {
        let layout = Layout::from_size_align(size.checked_add(2 * ALIGNMENT)?, 16).ok()?;
        // SAFETY: the layout's size is not 0.
        let block = unsafe { alloc_zeroed(layout) };
        if block.is_null() {
            return None;
        }
        // SAFETY: at most 63 bytes further, and the block is 128 bytes longer than needed.
        let start = unsafe { block.add(block.align_offset(ALIGNMENT)) };
        Some((Self { block, layout }, start))
    }
}

impl Drop for Allocated {
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
        assert!(Memory::kept(u64::MAX).is_err());
        let kept = Memory::kept(1 << 20).unwrap();
        assert_eq!((kept.start() as usize % 64, kept.bytes()), (0, 1 << 20));
        assert_eq!(Memory::zeroed(0).unwrap().bytes(), 0);
    }
}
