//! Walks that come again, block after block: their runs, found once when a kernel is translated.

use super::walk::Walk;

/// Lanes after which a pattern must come again.
const LONGEST: usize = 4096;

/// Neighbouring lanes of a block whose elements are evenly spaced in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub lane: usize,
    pub length: usize,
    /// Value of the walk's first line at its first lane, from the pattern's start; none where a guard does not hold.
    pub from: Option<isize>,
}

/// The blocks of a walk that repeats itself, as those over axes shorter than a block do (a head's two halves).
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Lanes of a block.
    width: usize,
    /// Blocks after which it comes again.
    blocks: usize,
    /// The walk's axes outside of it.
    outer: usize,
    runs: Vec<Run>,
    /// Where each block's runs begin; one more than there are blocks.
    starts: Vec<usize>,
}

impl Pattern {
    /// The pattern of a walk by blocks of `width` lanes, if it has one. `guards`: sizes of the lines behind the first.
    pub fn of(walk: &Walk, guards: &[i64], width: usize) -> Option<Self> {
        let (axes, outer) = (walk.sizes.len(), Self::outer(walk, width)?);
        let length: usize = walk.sizes[outer..].iter().product();
        let mut bases = vec![0; walk.first + walk.lines.len()];
        for (number, line) in walk.lines.iter().enumerate().skip(1) {
            bases[walk.first + number] = line.offset;
        }
        let (mut runs, mut starts) = (Vec::new(), Vec::new());
        for position in (0..length).step_by(width) {
            starts.push(runs.len());
            let mut cursor = walk.start(&bases, position, width);
            loop {
                let (low, high) = walk.valid(&cursor, guards);
                let stride = walk.lines[0].strides[axes - 1];
                let from = (cursor.values[0] + stride * low as i64) as isize;
                let parts = [(0, low, None), (low, high, Some(from)), (high, cursor.length, None)];
                runs.extend(parts.into_iter().filter(|(start, end, _)| start < end).map(|(start, end, from)| Run {
                    lane: cursor.lane + start,
                    length: end - start,
                    from,
                }));
                if !walk.advance(&mut cursor) {
                    break;
                }
            }
        }
        starts.push(runs.len());
        Some(Self { width, blocks: length / width, outer, runs, starts })
    }

    /// Number of a walk's axes outside of its pattern, if it has one.
    pub fn outer(walk: &Walk, width: usize) -> Option<usize> {
        let axes = walk.sizes.len();
        let lanes = |outer: usize| walk.sizes[outer..].iter().product::<usize>();
        let outer = (0..axes).rev().find(|&outer| lanes(outer).is_multiple_of(width))?;
        let still = walk.lines[1..].iter().all(|line| {
            line.scalar.iter().all(|&stride| stride == 0) && line.strides[..outer].iter().all(|&stride| stride == 0)
        });
        // Blocks along the last axis are runs.
        let serves = (1..=LONGEST).contains(&lanes(outer)) && (outer < axes - 1 || walk.lines.len() > 1);
        (still && serves).then_some(outer)
    }

    /// The runs of a block, and the value of the walk's first line from which they count; none where the block is not
    /// one of the pattern's. `base`: that line's value at lane 0 of the current scalar index.
    #[inline(always)]
    pub fn at(&self, walk: &Walk, base: i64, position: usize, count: usize) -> Option<(isize, &[Run])> {
        if count != self.width || !position.is_multiple_of(self.width) {
            return None;
        }
        let block = position / self.width;
        let (mut rest, number) = (block / self.blocks, block % self.blocks);
        let mut start = base;
        for axis in (0..self.outer).rev() {
            start += walk.lines[0].strides[axis] * (rest % walk.sizes[axis]) as i64;
            rest /= walk.sizes[axis];
        }
        Some((start as isize, &self.runs[self.starts[number]..self.starts[number + 1]]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk::Line;
    use super::*;

    /// A head's dimensions with its halves exchanged: x[batch, head, (dim + 4) mod 8], guarded as a padded half is.
    fn half() -> Walk {
        let line = |offset: i64, strides: [i64; 3]| Line { offset, scalar: vec![], strides: strides.to_vec() };
        Walk { sizes: vec![5, 4, 8], lines: vec![line(3, [100, 8, 1]), line(-4, [0, 0, 1])], first: 2 }
    }

    #[test]
    fn says_what_a_walk_would() {
        let walk = half();
        let pattern = Pattern::of(&walk, &[4], 16).unwrap();
        let bases = [0, 0, 1000, -4];
        for position in (0..160).step_by(16) {
            let (start, runs) = pattern.at(&walk, bases[2], position, 16).unwrap();
            let mut cursor = walk.start(&bases, position, 16);
            let mut wanted = vec![None; 16];
            loop {
                let (low, high) = walk.valid(&cursor, &[4]);
                for lane in low..high {
                    wanted[cursor.lane + lane] = Some(cursor.values[0] as isize + lane as isize);
                }
                if !walk.advance(&mut cursor) {
                    break;
                }
            }
            let mut found = vec![None; 16];
            for run in runs {
                for lane in 0..run.length {
                    found[run.lane + lane] = run.from.map(|from| start + from + lane as isize);
                }
            }
            assert_eq!(found, wanted, "at {position}");
        }
    }

    #[test]
    fn is_none_where_blocks_differ() {
        let walk = half();
        assert!(Pattern::of(&walk, &[4], 24).is_none(), "no whole blocks");
        assert!(Pattern::of(&walk, &[4], 16).unwrap().at(&walk, 0, 8, 16).is_none(), "between two blocks");
        assert!(Pattern::of(&walk, &[4], 16).unwrap().at(&walk, 0, 16, 8).is_none(), "part of a block");
        let mut moving = half();
        moving.lines[1].strides[0] = 1;
        assert!(Pattern::of(&moving, &[4], 16).is_none(), "a guard that depends on the batch");
    }
}
