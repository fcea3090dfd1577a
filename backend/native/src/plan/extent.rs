//! Which elements an access can touch.

use super::instruction::{Access, Affine, Guard};

/// Every sum of |stride| · size must stay below this, so that no executor's address arithmetic overflows.
const LIMIT: i128 = 1 << 62;

/// The lowest and highest value of an affine expression; `None` if it has no value at all.
pub type Range = Option<(i128, i128)>;

/// Range of `offset + Σ strides · index` with each index in its own interval.
fn over_box(offset: i128, strides: &[i128], intervals: &[(i128, i128)]) -> (i128, i128) {
    let mut range = (offset, offset);
    for (stride, (low, high)) in strides.iter().zip(intervals) {
        let ends = (stride * low, stride * high);
        range.0 += ends.0.min(ends.1);
        range.1 += ends.0.max(ends.1);
    }
    range
}

struct Line {
    offset: i128,
    strides: Vec<i128>,
}

impl Line {
    fn new(affine: &Affine) -> Self {
        Self { offset: affine.offset.into(), strides: affine.strides.iter().map(|&stride| stride.into()).collect() }
    }

    fn minus(&self, factor: i128, other: &Line) -> Self {
        Self {
            offset: self.offset - factor * other.offset,
            strides: self.strides.iter().zip(&other.strides).map(|(mine, theirs)| mine - factor * theirs).collect(),
        }
    }
}

/// Cuts each index's interval down to what one guard allows; false if nothing remains.
fn tighten(guard: &Guard, intervals: &mut [(i128, i128)]) -> bool {
    let line = Line::new(&guard.affine);
    let whole = over_box(line.offset, &line.strides, intervals);
    if whole.1 < 0 || whole.0 >= guard.size.into() {
        return false;
    }
    for axis in 0..intervals.len() {
        let stride = line.strides[axis];
        if stride == 0 {
            continue;
        }
        let (low, high) = intervals[axis];
        let own = (stride * low).min(stride * high)..=(stride * low).max(stride * high);
        // The other axes' part of the expression, at its lowest and highest.
        let (whole_low, whole_high) = over_box(line.offset, &line.strides, intervals);
        let (rest_low, rest_high) = (whole_low - own.start(), whole_high - own.end());
        // 0 ≤ rest + stride · index ≤ size − 1 for some rest.
        let (from, to) = (-rest_high, i128::from(guard.size) - 1 - rest_low);
        let ends = if stride > 0 {
            (-(-from).div_euclid(stride), to.div_euclid(stride))
        } else {
            (-(to.div_euclid(-stride)), (-from).div_euclid(-stride))
        };
        intervals[axis] = (low.max(ends.0), high.min(ends.1));
        if intervals[axis].0 > intervals[axis].1 {
            return false;
        }
    }
    true
}

/// Range of `line`, where it may be written as `factor · guard + rest`: that part lies in factor · [0, size).
fn bounded(line: &Line, guards: &[(Line, i128)], intervals: &[(i128, i128)]) -> (i128, i128) {
    let mut best = over_box(line.offset, &line.strides, intervals);
    let Some(((guard, size), others)) = guards.split_first() else { return best };
    let mut consider = |range: (i128, i128)| best = (best.0.max(range.0), best.1.min(range.1));
    consider(bounded(line, others, intervals));
    let mut tried = Vec::new();
    for (mine, theirs) in line.strides.iter().zip(&guard.strides) {
        if *mine == 0 || *theirs == 0 || mine % theirs != 0 || tried.contains(&(mine / theirs)) {
            continue;
        }
        let factor = mine / theirs;
        tried.push(factor);
        let rest = bounded(&line.minus(factor, guard), others, intervals);
        let ends = (0, factor * (size - 1));
        consider((rest.0 + ends.0.min(ends.1), rest.1 + ends.0.max(ends.1)));
    }
    best
}

/// Is the arithmetic of this expression safe from overflow?
pub fn is_moderate(affine: &Affine, sizes: &[i64]) -> bool {
    let reach: i128 = affine
        .strides
        .iter()
        .zip(sizes)
        .map(|(&stride, &size)| i128::from(stride).abs().saturating_mul(size.into()))
        .fold(i128::from(affine.offset).abs(), i128::saturating_add);
    reach < LIMIT
}

/// Elements that an access touches over all indices. Guards restrict it, a gather widens it.
pub fn of_access(access: &Access, sizes: &[i64]) -> Range {
    let mut intervals: Vec<(i128, i128)> = sizes.iter().map(|&size| (0, i128::from(size) - 1)).collect();
    if intervals.iter().any(|(_, high)| *high < 0) {
        return None;
    }
    // Twice, so that what one guard taught helps another.
    for guard in access.guards.iter().chain(&access.guards) {
        if !tighten(guard, &mut intervals) {
            return None;
        }
    }
    let guards: Vec<_> = access.guards.iter().map(|guard| (Line::new(&guard.affine), guard.size.into())).collect();
    let mut range = bounded(&Line::new(&access.affine), &guards, &intervals);
    if let Some(gather) = access.gather {
        if gather.size <= 0 {
            return None;
        }
        let last = i128::from(gather.stride) * (i128::from(gather.size) - 1);
        range = (range.0 + last.min(0), range.1 + last.max(0));
    }
    Some(range)
}

/// Elements `offset + Σ stride · index` over a box of (size, stride).
pub fn of_axes(offset: i64, axes: impl IntoIterator<Item = (i64, i64)>) -> Range {
    let mut range = (i128::from(offset), i128::from(offset));
    for (size, stride) in axes {
        if size <= 0 {
            return None;
        }
        let last = i128::from(stride) * (i128::from(size) - 1);
        range = (range.0 + last.min(0), range.1 + last.max(0));
    }
    Some(range)
}

/// Does every index have an address of its own? (Sufficient, and true of every layout the compiler makes.)
pub fn is_injective(axes: impl IntoIterator<Item = (i64, i64)>) -> bool {
    let mut axes: Vec<(i128, i128)> = axes
        .into_iter()
        .filter(|(size, _)| *size > 1)
        .map(|(size, stride)| (i128::from(stride).abs(), size.into()))
        .collect();
    axes.sort_unstable();
    let mut reach = 0;
    axes.iter().all(|(stride, size)| {
        let distinct = *stride > reach;
        reach += stride * (size - 1);
        distinct
    })
}

#[cfg(test)]
mod tests {
    use super::super::instruction::{Gather, StorageType};
    use super::*;

    fn access(offset: i64, strides: &[i64], guards: Vec<Guard>) -> Access {
        let affine = Affine { offset, strides: strides.to_vec() };
        Access { affine, slot: 0, dtype: StorageType::F32, guards, gather: None }
    }

    fn guard(offset: i64, strides: &[i64], size: i64) -> Guard {
        Guard { affine: Affine { offset, strides: strides.to_vec() }, size }
    }

    #[test]
    fn a_guard_restricts_the_range() {
        let padded = access(-8, &[8, 1], vec![guard(-1, &[1, 0], 3)]);
        assert_eq!(of_access(&padded, &[5, 8]), Some((0, 23)));
        let never = access(0, &[1], vec![guard(10, &[1], 5)]);
        assert_eq!(of_access(&never, &[5]), None);
    }

    #[test]
    fn a_guard_over_two_axes_restricts_the_range_exactly() {
        // 4 i + j − 3 must lie in [0, 10): the address is that expression.
        let split = access(-3, &[4, 1], vec![guard(-3, &[4, 1], 10)]);
        assert_eq!(of_access(&split, &[5, 4]), Some((0, 9)));
        let scaled = access(-24 + 5, &[32, 8], vec![guard(-3, &[4, 1], 10)]);
        assert_eq!(of_access(&scaled, &[5, 4]), Some((5, 77)));
    }

    #[test]
    fn a_negative_stride_reaches_down() {
        assert_eq!(of_access(&access(9, &[-1], vec![]), &[10]), Some((0, 9)));
        assert_eq!(of_access(&access(9, &[-1], vec![guard(9, &[-1], 5)]), &[20]), Some((0, 4)));
    }

    #[test]
    fn a_gather_widens_the_range() {
        let gather = Some(Gather { register: 0, stride: 16, size: 4 });
        assert_eq!(of_access(&Access { gather, ..access(0, &[0, 1], vec![]) }, &[3, 16]), Some((0, 63)));
    }

    #[test]
    fn injective_layouts() {
        assert!(is_injective([(3, 4), (4, 1)]));
        assert!(is_injective([(3, 1), (4, 3)]));
        assert!(is_injective([(1, 0), (4, -1)]));
        assert!(!is_injective([(3, 0), (4, 1)]));
        assert!(!is_injective([(3, 2), (4, 1)]));
    }
}
