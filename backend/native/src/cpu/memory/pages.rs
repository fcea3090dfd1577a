//! Huge pages for what is kept: weights are streamed through, and with small pages the processor spends a good part of
//! the time on looking up where the next one lies. A matrix is often smaller than one huge page, so that buffers lie
//! side by side in regions of the address space.

use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{MmapMut, UncheckedAdvice};

/// Address space that is reserved at a time; it takes memory where something was written.
const REGION: usize = 64 << 20;
/// Buffers start at multiples of this: where small pages start, so that a buffer's own can be given back.
const PAGE: usize = 4096;

struct Region {
    map: MmapMut,
    start: *mut u8,
}

// SAFETY: pieces of it belong to different owners, and each is given out once.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// The region that is being filled, and how much of it was given out.
static OPEN: Mutex<Option<(Arc<Region>, usize)>> = Mutex::new(None);

/// Zeroed bytes of a region. No byte is given out twice; a region is unmapped when nothing in it is used.
pub struct Piece {
    region: Arc<Region>,
    offset: usize,
    length: usize,
}

impl Piece {
    /// None if the system gives no more address space.
    pub fn new(bytes: usize) -> Option<Self> {
        let length = bytes.checked_next_multiple_of(PAGE)?;
        if length > REGION / 4 {
            return Some(Self { region: Region::new(length)?, offset: 0, length });
        }
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = open.as_ref().is_some_and(|(_, used)| used + length <= REGION);
        if !fits {
            *open = Some((Region::new(REGION)?, 0));
        }
        let (region, used) = open.as_mut()?;
        let offset = *used;
        *used += length;
        Some(Self { region: Arc::clone(region), offset, length })
    }

    pub fn start(&self) -> *mut u8 {
        self.region.start.wrapping_add(self.offset)
    }
}

impl Region {
    fn new(length: usize) -> Option<Arc<Self>> {
        let mut map = MmapMut::map_anon(length).ok()?;
        // It is advice: a system without huge pages gives small ones.
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = map.as_mut_ptr();
        Some(Arc::new(Self { map, start }))
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: the range is this piece's alone, and nobody uses it any more.
        let done =
            unsafe { self.region.map.unchecked_advise_range(UncheckedAdvice::DontNeed, self.offset, self.length) };
        // A system that does not take the advice keeps the memory until the whole region is unused.
        drop(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_apart_zeroed_and_survive_their_neighbours() {
        let sizes = [1, PAGE, 3 * PAGE + 5, REGION / 4, REGION, REGION / 4, REGION / 4, REGION / 4, 7];
        let fill = |piece: &Piece, bytes: usize, value: u8| {
            // SAFETY: the piece is ours alone and at least so long.
            let bytes = unsafe { std::slice::from_raw_parts_mut(piece.start(), bytes) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(value);
        };
        let mut pieces: Vec<(Piece, usize, u8)> = Vec::new();
        for (number, &bytes) in sizes.iter().enumerate() {
            let piece = Piece::new(bytes).unwrap();
            fill(&piece, bytes, number as u8 + 1);
            pieces.push((piece, bytes, number as u8 + 1));
        }
        pieces.remove(3);
        pieces.remove(1);
        for (piece, bytes, value) in &pieces {
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(piece.start(), *bytes) };
            assert!(bytes.iter().all(|byte| byte == value));
        }
    }
}
