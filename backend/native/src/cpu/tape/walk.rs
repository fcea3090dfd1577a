//! Walking over a block's lanes: addresses and guards as runs along the innermost axis.

use std::ops::Range;

use crate::plan::Affine;

/// Axes of a walk, at most (`plan` allows no more).
const MAX_AXES: usize = 16;

/// One affine expression.
#[derive(Debug, Clone)]
pub struct Line {
    pub offset: i64,
    /// One stride per scalar axis.
    pub scalar: Vec<i64>,
    /// One stride per axis of the walk.
    pub strides: Vec<i64>,
}

/// Affine expressions over the lanes' axes, as few axes as serve all of them.
#[derive(Debug, Clone)]
pub struct Walk {
    /// At least one axis; the last is innermost.
    pub sizes: Vec<usize>,
    pub lines: Vec<Line>,
    /// Number of its first line among the tape's.
    pub first: usize,
}

/// Lines of a walk, at most: an address and eight guards (`plan` allows no more).
const LINES: usize = 9;

/// Goes over a block run by run; in a run every line has one stride.
pub struct Cursor {
    /// First lane of the run in the block.
    pub lane: usize,
    pub length: usize,
    /// The lines' values at its start.
    pub values: [i64; LINES],
    index: [usize; MAX_AXES],
    count: usize,
}

/// Joins neighbouring axes over which every line runs on evenly. `keep_last`: never join the last axis.
pub fn collapse(sizes: &[usize], lines: &mut [Line], keep_last: bool) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..sizes.len()).filter(|&axis| sizes[axis] != 1).collect();
    let mut joined: Vec<usize> = kept.iter().map(|&axis| sizes[axis]).collect();
    let mut axis = kept.len();
    while axis > 1 {
        axis -= 1;
        if keep_last && axis == kept.len() - 1 {
            continue;
        }
        let even = |line: &Line| line.strides[kept[axis - 1]] == line.strides[kept[axis]] * joined[axis] as i64;
        if lines.iter().all(even) {
            // The outer one goes; the inner one's stride serves both.
            joined[axis] *= joined[axis - 1];
            joined.remove(axis - 1);
            kept.remove(axis - 1);
        }
    }
    for line in lines {
        line.strides = kept.iter().map(|&axis| line.strides[axis]).collect();
        if line.strides.is_empty() {
            line.strides.push(0);
        }
    }
    if joined.is_empty() {
        joined.push(1);
    }
    joined
}

impl Walk {
    /// `lanes`: the axes along which lanes run; `scalar`: those stepped through. `first`: number of its first line.
    pub fn new(
        affines: &[&Affine],
        sizes: &[usize],
        lanes: &Range<usize>,
        scalar: &Range<usize>,
        first: usize,
        keep_last: bool,
    ) -> Self {
        let mut lines: Vec<Line> = affines
            .iter()
            .map(|affine| Line {
                offset: affine.offset,
                scalar: affine.strides[scalar.clone()].to_vec(),
                strides: affine.strides[lanes.clone()].to_vec(),
            })
            .collect();
        let sizes = collapse(&sizes[lanes.clone()], &mut lines, keep_last);
        Self { sizes, lines, first }
    }

    /// The first run of the lanes `position .. position + count`. `bases`: the lines' values at lane 0 of the current
    /// scalar index.
    #[inline(always)]
    pub fn start(&self, bases: &[i64], position: usize, count: usize) -> Cursor {
        let mut cursor = Cursor { lane: 0, length: count, values: [0; LINES], index: [0; MAX_AXES], count };
        if self.sizes.len() == 1 {
            for (number, line) in self.lines.iter().enumerate() {
                cursor.values[number] = bases[self.first + number] + line.strides[0] * position as i64;
            }
        } else {
            self.locate(&mut cursor, bases, position);
        }
        cursor
    }

    fn locate(&self, cursor: &mut Cursor, bases: &[i64], position: usize) {
        let mut rest = position;
        for (axis, &size) in self.sizes.iter().enumerate().rev() {
            cursor.index[axis] = rest % size;
            rest /= size;
        }
        for (number, line) in self.lines.iter().enumerate() {
            let further = line.strides.iter().zip(&cursor.index).map(|(stride, &index)| stride * index as i64);
            cursor.values[number] = bases[self.first + number] + further.sum::<i64>();
        }
        let last = self.sizes.len() - 1;
        cursor.length = cursor.count.min(self.sizes[last] - cursor.index[last]);
    }

    /// Goes to the next run; false if there is none.
    #[inline(always)]
    pub fn advance(&self, cursor: &mut Cursor) -> bool {
        cursor.lane += cursor.length;
        if cursor.lane >= cursor.count {
            return false;
        }
        self.turn(cursor);
        true
    }

    /// A run ended at the end of the innermost axis: back to its start, and on along the next one.
    fn turn(&self, cursor: &mut Cursor) {
        let last = self.sizes.len() - 1;
        for (value, line) in cursor.values.iter_mut().zip(&self.lines) {
            *value -= line.strides[last] * cursor.index[last] as i64;
        }
        cursor.index[last] = 0;
        for axis in (0..last).rev() {
            cursor.index[axis] += 1;
            let wraps = cursor.index[axis] == self.sizes[axis];
            for (value, line) in cursor.values.iter_mut().zip(&self.lines) {
                *value += line.strides[axis] * if wraps { 1 - cursor.index[axis] as i64 } else { 1 };
            }
            if !wraps {
                break;
            }
            cursor.index[axis] = 0;
        }
        cursor.length = (cursor.count - cursor.lane).min(self.sizes[last]);
    }

    /// The lanes of a run in which every guard (lines from 1 on) lies in [0, its size).
    #[inline(always)]
    pub fn valid(&self, cursor: &Cursor, sizes: &[i64]) -> (usize, usize) {
        if sizes.is_empty() { (0, cursor.length) } else { self.guarded(cursor, sizes) }
    }

    fn guarded(&self, cursor: &Cursor, sizes: &[i64]) -> (usize, usize) {
        let length = cursor.length as i64;
        let (mut low, mut high) = (0_i64, length);
        for ((line, &value), &size) in self.lines[1..].iter().zip(&cursor.values[1..]).zip(sizes) {
            let stride = line.strides[self.sizes.len() - 1];
            let inside = |value: i64| (0..size).contains(&value);
            if inside(value) && inside(value + stride * (length - 1)) {
                continue;
            }
            if stride == 0 {
                return (0, 0);
            }
            if stride == 1 {
                // As below, without divisions.
                low = low.max(-value);
                high = high.min(size - value);
                continue;
            }
            // 0 ≤ value + stride · lane < size
            let (from, to) = if stride > 0 {
                (-(value.div_euclid(stride)), -((value - size).div_euclid(stride)))
            } else {
                ((value - size).div_euclid(-stride) + 1, value.div_euclid(-stride) + 1)
            };
            low = low.max(from);
            high = high.min(to);
        }
        if low < high { (low as usize, high as usize) } else { (0, 0) }
    }
}
