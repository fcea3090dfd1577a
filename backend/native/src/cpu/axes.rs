//! Axes of kernels that are no loops: joining them, and finding addresses.

/// An axis: its size, and its stride in each of N operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis<const N: usize> {
    pub size: usize,
    pub strides: [isize; N],
}

impl<const N: usize> Axis<N> {
    pub fn new(size: i64, strides: [i64; N]) -> Self {
        Self { size: size as usize, strides: strides.map(|stride| stride as isize) }
    }
}

/// Joins neighbours over which every operand runs on evenly, and drops axes of one element.
pub fn join<const N: usize>(axes: impl IntoIterator<Item = Axis<N>>) -> Vec<Axis<N>> {
    let mut joined: Vec<Axis<N>> = Vec::new();
    for axis in axes {
        if axis.size == 1 {
            continue;
        }
        match joined.last_mut() {
            Some(last) if last.strides == axis.strides.map(|stride| stride * axis.size as isize) => {
                *last = Axis { size: last.size * axis.size, strides: axis.strides };
            }
            _ => joined.push(axis),
        }
    }
    joined
}

pub fn count<const N: usize>(axes: &[Axis<N>]) -> usize {
    axes.iter().map(|axis| axis.size).product()
}

/// Offsets of a flat, row-major index into the axes.
#[inline]
pub fn offsets<const N: usize>(axes: &[Axis<N>], index: usize) -> [isize; N] {
    let mut sums = [0; N];
    if let [axis] = axes {
        return axis.strides.map(|stride| stride * index as isize);
    }
    let mut rest = index;
    for axis in axes.iter().rev() {
        let index = (rest % axis.size) as isize;
        rest /= axis.size;
        for (sum, stride) in sums.iter_mut().zip(axis.strides) {
            *sum += stride * index;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_keeps_addresses() {
        let axes = [(2, [60, 0]), (3, [20, 7]), (1, [5, 5]), (4, [5, 1]), (5, [1, 9])];
        let axes = axes.map(|(size, strides)| Axis::new(size, strides));
        let joined = join(axes);
        assert_eq!(count(&joined), 120);
        for index in 0..120 {
            assert_eq!(offsets(&joined, index), offsets(&axes, index));
        }
        assert_eq!(join([(3, [20]), (4, [5]), (5, [1])].map(|(size, strides)| Axis::new(size, strides))).len(), 1);
    }
}
