//! Loads and stores: a block's lanes to and from a slot's memory.

use super::element::Element;
use super::ops::Frame;
use super::pattern::{Pattern, Run};
use super::walk::Walk;
use super::{Op, TapeAccess, TapeGather};

impl Frame<'_> {
    /// Where an access's lanes lie if they are one run without guards and gathers: value of its line at the first.
    #[inline(always)]
    pub fn straight(&self, walk: &Walk) -> Option<isize> {
        // SAFETY: each line has a base.
        let base = unsafe { *self.bases.get_unchecked(walk.first) };
        let [line] = &walk.lines[..] else { return None };
        let (&last, outer) = walk.sizes.split_last()?;
        let stride = line.strides[outer.len()];
        if outer.is_empty() {
            return Some((base + stride * self.position as i64) as isize);
        }
        let column = self.position % last;
        if column + self.count > last {
            return None;
        }
        let (mut start, mut rest) = (base + stride * column as i64, self.position / last);
        let mut axis = outer.len();
        while axis > 1 {
            axis -= 1;
            start += line.strides[axis] * (rest % outer[axis]) as i64;
            rest /= outer[axis];
        }
        Some((start + line.strides[0] * rest as i64) as isize)
    }

    /// A walk's runs in this block, and from where they count, if its pattern has it.
    #[inline(always)]
    pub fn repeated<'a>(&self, walk: &Walk, pattern: Option<&'a Pattern>) -> Option<(isize, &'a [Run])> {
        pattern?.at(walk, self.bases[walk.first], self.position, self.count)
    }
}

/// # Safety
/// `from + stride · lane` is readable, and `to + lane` writable, for each lane.
#[inline(always)]
unsafe fn load_lanes<E: Element>(to: *mut u32, count: usize, from: *const E::Raw, stride: isize) {
    let mut lane = 0;
    match stride {
        0 => {
            // SAFETY: the caller's contract.
            let word = E::widen(unsafe { from.read() });
            while lane < count {
                // SAFETY: the caller's contract.
                unsafe { *to.add(lane) = word };
                lane += 1;
            }
        }
        1 => {
            while lane < count {
                // SAFETY: the caller's contract.
                unsafe { *to.add(lane) = E::widen(*from.add(lane)) };
                lane += 1;
            }
        }
        _ => {
            while lane < count {
                // SAFETY: the caller's contract.
                unsafe { *to.add(lane) = E::widen(*from.offset(stride * lane as isize)) };
                lane += 1;
            }
        }
    }
}

/// Few lanes: a loop for many would take longer to start than to run.
///
/// # Safety
/// As [`load_lanes`].
#[inline(always)]
unsafe fn load_run<E: Element>(to: *mut u32, count: usize, from: *const E::Raw, stride: isize) {
    if stride != 1 || !count.is_multiple_of(8) {
        // SAFETY: the caller's contract.
        return unsafe { load_lanes::<E>(to, count, from, stride) };
    }
    let mut lane = 0;
    while lane < count {
        // SAFETY: the caller's contract; all eight are read before the first is written, so that they are one vector.
        unsafe {
            let raw = from.add(lane).cast::<[E::Raw; 8]>().read_unaligned();
            let mut values = [0; 8];
            let mut number = 0;
            while number < 8 {
                values[number] = E::widen(raw[number]);
                number += 1;
            }
            to.add(lane).cast::<[u32; 8]>().write_unaligned(values);
        }
        lane += 8;
    }
}

/// # Safety
/// `to + stride · lane` is writable, and `from + lane` readable, for each lane.
#[inline(always)]
unsafe fn store_lanes<E: Element>(from: *const u32, count: usize, to: *mut E::Raw, stride: isize) {
    let mut lane = 0;
    if stride == 1 {
        while lane < count {
            // SAFETY: the caller's contract.
            unsafe { *to.add(lane) = E::narrow(*from.add(lane)) };
            lane += 1;
        }
    } else {
        while lane < count {
            // SAFETY: the caller's contract.
            unsafe { *to.offset(stride * lane as isize) = E::narrow(*from.add(lane)) };
            lane += 1;
        }
    }
}

/// The way to an element that a gather chooses at a lane, if there is one.
///
/// # Safety
/// As [`Runner`].
#[inline(always)]
unsafe fn gathered(frame: &Frame<'_>, gather: TapeGather, lane: usize) -> Option<isize> {
    // SAFETY: the gather's block exists and is no instruction's target now.
    let index = unsafe { *frame.lanes::<i32>(gather.block).add(lane) };
    if (0..gather.size).contains(&i64::from(index)) {
        return Some((i64::from(index) * gather.stride) as isize);
    }
    if index != -1 {
        frame.status.report();
    }
    None
}

// Runs are gone over by loops, not by a function that is given what to do with each: LLVM leaves such a one a function of
// its own, compiled for any processor.

/// # Safety
/// As [`Runner`].
#[inline(always)]
pub unsafe fn load<E: Element>(op: &Op, frame: &Frame<'_>, access: &TapeAccess) {
    let walk = &access.walk;
    let memory = frame.slots[access.slot].cast::<E::Raw>().cast_const();
    let stride = walk.lines[0].strides[walk.sizes.len() - 1] as isize;
    if access.direct {
        // SAFETY: there is a place for every block of the tape.
        unsafe { *frame.places.add(op.to.into()) = frame.blocks.wrapping_add(op.to.into()).cast() };
    }
    if access.gather.is_none()
        && let Some(start) = frame.straight(walk)
    {
        let from = memory.wrapping_offset(start);
        // Whole vectors only: what computes on the lanes reads no rest.
        if access.direct && stride == 1 && frame.count == frame.rounded() {
            // SAFETY: as above. Who uses these lanes reads them before anything is stored.
            unsafe { *frame.places.add(op.to.into()) = from.cast_mut().cast() };
            return;
        }
        // SAFETY: lanes of this block; validation proved that the addresses lie in the slot.
        return unsafe { load_lanes::<E>(frame.lanes(op.to), frame.count, from, stride) };
    }
    if let Some((start, runs)) = frame.repeated(walk, access.pattern.as_ref()) {
        for run in runs {
            // SAFETY: as above.
            unsafe {
                let to = frame.lanes::<u32>(op.to).add(run.lane);
                match run.from {
                    Some(from) => load_run::<E>(to, run.length, memory.wrapping_offset(start + from), stride),
                    None => to.write_bytes(0, run.length),
                }
            }
        }
        return;
    }
    let mut cursor = walk.start(frame.bases, frame.position, frame.count);
    loop {
        let (low, high) = walk.valid(&cursor, &access.sizes);
        let start = cursor.values[0] as isize;
        // SAFETY: lanes of this block; validation proved that guarded, gathered addresses lie in the slot.
        unsafe {
            let to = frame.lanes::<u32>(op.to).add(cursor.lane);
            if high - low < cursor.length {
                to.write_bytes(0, low);
                to.add(high).write_bytes(0, cursor.length - high);
            }
            match access.gather {
                None => load_lanes::<E>(
                    to.add(low),
                    high - low,
                    memory.wrapping_offset(start + stride * low as isize),
                    stride,
                ),
                Some(gather) if gather.uniform && low < high => match gathered(frame, gather, cursor.lane + low) {
                    Some(further) => {
                        let from = memory.offset(start + stride * low as isize + further);
                        load_lanes::<E>(to.add(low), high - low, from, stride);
                    }
                    None => to.add(low).write_bytes(0, high - low),
                },
                Some(gather) => {
                    for lane in low..high {
                        *to.add(lane) = match gathered(frame, gather, cursor.lane + lane) {
                            Some(further) => E::widen(*memory.offset(start + stride * lane as isize + further)),
                            None => 0,
                        };
                    }
                }
            }
        }
        if !walk.advance(&mut cursor) {
            return;
        }
    }
}

/// # Safety
/// As [`Runner`].
#[inline(always)]
pub unsafe fn store<E: Element>(op: &Op, frame: &Frame<'_>, access: &TapeAccess) {
    let walk = &access.walk;
    let memory = frame.slots[access.slot].cast::<E::Raw>();
    let stride = walk.lines[0].strides[walk.sizes.len() - 1] as isize;
    if access.gather.is_none()
        && let Some(start) = frame.straight(walk)
    {
        // SAFETY: the caller's contract.
        return unsafe { store_lanes::<E>(frame.lanes(op.a), frame.count, memory.wrapping_offset(start), stride) };
    }
    if let Some((start, runs)) = frame.repeated(walk, access.pattern.as_ref()) {
        for run in runs {
            let Some(from) = run.from else { continue };
            // SAFETY: the caller's contract.
            unsafe {
                let lanes = frame.lanes::<u32>(op.a).add(run.lane);
                store_lanes::<E>(lanes, run.length, memory.wrapping_offset(start + from), stride);
            }
        }
        return;
    }
    let mut cursor = walk.start(frame.bases, frame.position, frame.count);
    loop {
        let (low, high) = walk.valid(&cursor, &access.sizes);
        let start = cursor.values[0] as isize;
        // SAFETY: the caller's contract.
        unsafe {
            let from = frame.lanes::<u32>(op.a).add(cursor.lane);
            match access.gather {
                None => store_lanes::<E>(
                    from.add(low),
                    high - low,
                    memory.wrapping_offset(start + stride * low as isize),
                    stride,
                ),
                Some(gather) => {
                    for lane in low..high {
                        if let Some(further) = gathered(frame, gather, cursor.lane + lane) {
                            *memory.offset(start + stride * lane as isize + further) = E::narrow(*from.add(lane));
                        }
                    }
                }
            }
        }
        if !walk.advance(&mut cursor) {
            return;
        }
    }
}
