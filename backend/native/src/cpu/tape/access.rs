//! Loads and stores: a block's lanes to and from a slot's memory.

use super::element::Element;
use super::ops::Frame;
use super::walk::{Cursor, Walk};
use super::{Op, TapeAccess, TapeGather};

impl Frame<'_> {
    /// Where an access's lanes lie if they are one run without guards and gathers: value of its line at the first.
    #[inline(always)]
    pub fn straight(&self, walk: &Walk) -> Option<isize> {
        // SAFETY: each line has a base.
        let base = unsafe { *self.bases.get_unchecked(walk.first) };
        let [line] = &walk.lines[..] else { return None };
        match (&walk.sizes[..], &line.strides[..]) {
            ([_], [stride]) => Some((base + stride * self.position as i64) as isize),
            ([_, size], [outer, inner]) => {
                let (row, column) = (self.position / size, self.position % size);
                (column + self.count <= *size).then(|| (base + outer * row as i64 + inner * column as i64) as isize)
            }
            _ => None,
        }
    }

    /// Goes over the block's lanes run by run.
    #[inline(always)]
    pub fn each_run(&self, walk: &Walk, mut visit: impl FnMut(&Cursor)) {
        let mut cursor = walk.start(self.bases, self.position, self.count);
        loop {
            visit(&cursor);
            if !walk.advance(&mut cursor) {
                return;
            }
        }
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
    frame.each_run(walk, |cursor| {
        let (low, high) = walk.valid(cursor, &access.sizes);
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
    });
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
    frame.each_run(walk, |cursor| {
        let (low, high) = walk.valid(cursor, &access.sizes);
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
    });
}
