//! What each instruction does to a block, as loops that LLVM turns into vector code: once for every processor, once
//! for AVX2 and once for AVX-512, chosen at the start.

use super::access::{load, store};
use super::element::{Brain, Half, Word};
use super::rows::{Rows, begin, end};
use super::{Block, Code, Op, Tape, TapeIndex, TapeStage};
use crate::cpu::{Status, convert, math};
use crate::plan::StorageType;

/// What a run of instructions works on.
pub struct Frame<'a> {
    pub tape: &'a Tape,
    pub blocks: *mut Block,
    /// Where the lanes of each block lie now: in the block, or in a slot's memory.
    pub places: *mut *mut u32,
    /// Start of each slot's memory.
    pub slots: &'a [*mut u8],
    /// Value of each line at lane 0 of the current scalar index.
    pub bases: &'a [i64],
    /// First lane of the block.
    pub position: usize,
    pub count: usize,
    pub status: Status<'a>,
}

/// The tapes' code for one kind of processor.
#[derive(Clone, Copy)]
pub struct Runner {
    /// Runs instructions over one block.
    ///
    /// # Safety
    /// The tape is the translation of a validated kernel, the slots are as large as its bindings say, the frame's
    /// blocks and places are as many as the tape's and belong to this thread; nobody else writes what the kernel
    /// touches.
    pub run: unsafe fn(&[Op], &Frame<'_>),
    /// Makes an inner stage ready for some rows (see [`begin`]).
    ///
    /// # Safety
    /// The stage's blocks and the rows' lanes exist, and belong to this thread.
    pub begin: unsafe fn(&TapeStage, &Rows),
    /// Joins what it has added up (see [`end`]).
    ///
    /// # Safety
    /// As `begin`.
    pub end: unsafe fn(&TapeStage, &Rows),
}

/// The best variant that this processor runs.
pub fn runner() -> Runner {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
        {
            return avx512::RUNNER;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return avx2::RUNNER;
        }
    }
    plain::RUNNER
}

/// The same code once more, compiled for a processor with some features.
macro_rules! variant {
    ($name:ident, $fma:expr $(, $features:literal)?) => {
        mod $name {
            use super::{Frame, Op, Rows, Runner, TapeStage};

            pub const RUNNER: Runner = Runner { run, begin, end };

            $(#[target_feature(enable = $features)])?
            unsafe fn run(ops: &[Op], frame: &Frame<'_>) {
                // SAFETY: the caller's contract.
                unsafe { super::run_all::<{ $fma }>(ops, frame) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn begin(stage: &TapeStage, rows: &Rows) {
                // SAFETY: the caller's contract.
                unsafe { super::begin(stage, rows) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn end(stage: &TapeStage, rows: &Rows) {
                // SAFETY: the caller's contract.
                unsafe { super::end(stage, rows) }
            }
        }
    };
}

// Every processor of its architecture; on ARM64 multiply-add is always there.
variant!(plain, cfg!(target_arch = "aarch64"));
#[cfg(target_arch = "x86_64")]
variant!(avx2, true, "avx2,fma,bmi2");
#[cfg(target_arch = "x86_64")]
variant!(avx512, true, "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2");

/// A type of the lanes of a block.
pub trait Lane: Copy {}
impl Lane for f32 {}
impl Lane for i32 {}
impl Lane for u32 {}

impl Frame<'_> {
    /// A block's lanes as T, to read or to write.
    #[inline(always)]
    pub fn lanes<T: Lane>(&self, block: u16) -> *mut T {
        // SAFETY: there is a place for every block of the tape.
        unsafe { *self.places.add(block.into()) }.cast()
    }

    /// Lanes to compute where computing too many does no harm: whole vectors, no rest. At most a block, whose lanes
    /// are a multiple of 16.
    #[inline(always)]
    pub fn rounded(&self) -> usize {
        self.count.div_ceil(16) * 16
    }
}

// The loops below are written with pointers and indices: inside one function for all instructions, iterators of the
// standard library are no longer inlined, and what is not inlined is compiled for any processor.

/// # Safety
/// As many lanes at each pointer; the target is none of the sources.
#[inline(always)]
unsafe fn map<A: Lane, R: Lane>(to: *mut R, a: *const A, count: usize, f: impl Fn(A) -> R) {
    let mut lane = 0;
    while lane < count {
        // SAFETY: the caller's contract.
        unsafe { *to.add(lane) = f(*a.add(lane)) };
        lane += 1;
    }
}

/// The same for what takes long: two vectors at a time, and constants loaded for both.
///
/// # Safety
/// As [`map`]; a multiple of 16 lanes.
#[inline(always)]
unsafe fn map_vectors(to: *mut f32, a: *const f32, count: usize, f: impl Fn(f32) -> f32) {
    let mut lane = 0;
    while lane < count {
        // SAFETY: the caller's contract.
        unsafe {
            let mut values = a.add(lane).cast::<[f32; 16]>().read_unaligned();
            let mut number = 0;
            while number < 16 {
                values[number] = f(values[number]);
                number += 1;
            }
            to.add(lane).cast::<[f32; 16]>().write_unaligned(values);
        }
        lane += 16;
    }
}

/// # Safety
/// As [`map`].
#[inline(always)]
unsafe fn count_lanes(to: *mut i32, count: usize, start: i32, stride: i32) {
    let mut lane = 0;
    while lane < count {
        // SAFETY: the caller's contract.
        unsafe { *to.add(lane) = start.wrapping_add(stride.wrapping_mul(lane as i32)) };
        lane += 1;
    }
}

/// # Safety
/// As [`map`].
#[inline(always)]
unsafe fn zip<A: Lane, R: Lane>(to: *mut R, a: *const A, b: *const A, count: usize, f: impl Fn(A, A) -> R) {
    let mut lane = 0;
    while lane < count {
        // SAFETY: the caller's contract.
        unsafe { *to.add(lane) = f(*a.add(lane), *b.add(lane)) };
        lane += 1;
    }
}

// A choice of one operand that is then stored where it came from would become a store of chosen lanes, which takes ten
// times as long: a NaN is added bit by bit instead.

/// The larger one; NaN if either is.
#[inline(always)]
pub fn max(a: f32, b: f32) -> f32 {
    or_not_a_number(if a > b { a } else { b }, a)
}

/// The smaller one; NaN if either is.
#[inline(always)]
pub fn min(a: f32, b: f32) -> f32 {
    or_not_a_number(if a < b { a } else { b }, a)
}

/// `chosen`, or NaN if `a` is one. (Where `b` is, it was chosen.)
#[inline(always)]
#[allow(clippy::eq_op, reason = "a NaN differs from itself")]
fn or_not_a_number(chosen: f32, a: f32) -> f32 {
    f32::from_bits(chosen.to_bits() | u32::from(a != a).wrapping_neg())
}

/// sin and cos: the few arguments that are too large for the vector code get their own.
///
/// # Safety
/// As [`map`].
#[inline(always)]
unsafe fn trigonometry(to: *mut f32, a: *const f32, count: usize, near: impl Fn(f32) -> f32, far: impl Fn(f32) -> f32) {
    // SAFETY: the caller's contract.
    unsafe { map(to, a, count, near) };
    let mut any = false;
    for lane in 0..count {
        // SAFETY: the caller's contract.
        any |= unsafe { *a.add(lane) }.abs() > math::FAR;
    }
    if any {
        for lane in 0..count {
            // SAFETY: the caller's contract.
            let x = unsafe { *a.add(lane) };
            if x.abs() > math::FAR {
                // SAFETY: the caller's contract.
                unsafe { *to.add(lane) = far(x) };
            }
        }
    }
}

/// # Safety
/// As [`Runner`].
#[inline(always)]
unsafe fn run_all<const FMA: bool>(ops: &[Op], frame: &Frame<'_>) {
    for op in ops {
        // SAFETY: the caller's contract.
        unsafe { run_one::<FMA>(op, frame) };
    }
}

/// # Safety
/// As [`Runner`].
#[inline(always)]
unsafe fn run_one<const FMA: bool>(op: &Op, frame: &Frame<'_>) {
    macro_rules! unary {
        ($from:ty => $to:ty, $f:expr) => {
            // SAFETY: the tape's blocks exist, and `compile` gave destination and sources different ones.
            unsafe { map::<$from, $to>(frame.lanes(op.to), frame.lanes(op.a), frame.rounded(), $f) }
        };
    }
    macro_rules! binary {
        ($from:ty => $to:ty, $f:expr) => {
            // SAFETY: the tape's blocks exist, and `compile` gave destination and sources different ones.
            unsafe { zip::<$from, $to>(frame.lanes(op.to), frame.lanes(op.a), frame.lanes(op.b), frame.rounded(), $f) }
        };
    }
    // Exactly `count` lanes: what follows them must not be counted.
    macro_rules! reduce {
        ($kind:ty, $f:expr) => {{
            let (to, a) = (frame.lanes::<$kind>(op.to), frame.lanes::<$kind>(op.a));
            let mut lane = 0;
            while lane < frame.count {
                // SAFETY: the tape's blocks exist, and `compile` gave destination and sources different ones.
                unsafe { *to.add(lane) = $f(*to.add(lane), *a.add(lane)) };
                lane += 1;
            }
        }};
    }
    macro_rules! trigonometry {
        ($near:expr, $far:expr) => {
            // SAFETY: the tape's blocks exist, and `compile` gave destination and sources different ones.
            unsafe { trigonometry(frame.lanes(op.to), frame.lanes(op.a), frame.count, $near, $far) }
        };
    }
    match op.code {
        Code::Load => {
            let access = &frame.tape.accesses[usize::from(op.place)];
            // SAFETY: the caller's contract.
            unsafe {
                match access.dtype {
                    StorageType::F16 => load::<Half>(op, frame, access),
                    StorageType::Bf16 => load::<Brain>(op, frame, access),
                    _ => load::<Word>(op, frame, access),
                }
            }
        }
        Code::Store => {
            let access = &frame.tape.accesses[usize::from(op.place)];
            // SAFETY: the caller's contract.
            unsafe {
                match access.dtype {
                    StorageType::F16 => store::<Half>(op, frame, access),
                    StorageType::Bf16 => store::<Brain>(op, frame, access),
                    _ => store::<Word>(op, frame, access),
                }
            }
        }
        Code::Index => {
            let TapeIndex { walk, pattern } = &frame.tape.indices[usize::from(op.place)];
            let stride = walk.lines[0].strides[walk.sizes.len() - 1] as i32;
            if let Some(start) = frame.straight(walk) {
                // SAFETY: lanes of this block.
                return unsafe { count_lanes(frame.lanes(op.to), frame.count, start as i32, stride) };
            }
            if let Some((start, runs)) = frame.repeated(walk, pattern.as_ref()) {
                for run in runs {
                    let first = (start + run.from.unwrap_or_default()) as i32;
                    // SAFETY: lanes of this block.
                    unsafe { count_lanes(frame.lanes::<i32>(op.to).add(run.lane), run.length, first, stride) };
                }
                return;
            }
            let mut cursor = walk.start(frame.bases, frame.position, frame.count);
            loop {
                let to = frame.lanes::<i32>(op.to).wrapping_add(cursor.lane);
                // SAFETY: lanes of this block.
                unsafe { count_lanes(to, cursor.length, cursor.values[0] as i32, stride) };
                if !walk.advance(&mut cursor) {
                    break;
                }
            }
        }
        Code::NegF => unary!(f32 => f32, |x: f32| -x),
        Code::NegI => unary!(u32 => u32, u32::wrapping_neg),
        Code::AbsF => unary!(f32 => f32, f32::abs),
        Code::AbsI => unary!(i32 => i32, i32::wrapping_abs),
        Code::Exp => {
            // SAFETY: as `unary!`.
            unsafe { map_vectors(frame.lanes(op.to), frame.lanes(op.a), frame.rounded(), math::exp::<FMA>) }
        }
        Code::Log => unary!(f32 => f32, math::log::<FMA>),
        Code::Recip => unary!(f32 => f32, |x: f32| 1.0 / x),
        Code::Sqrt => unary!(f32 => f32, f32::sqrt),
        Code::Sin => trigonometry!(math::sin, |x| math::sin_cos_far(x).0),
        Code::Cos => trigonometry!(math::cos, |x| math::sin_cos_far(x).1),
        Code::Tanh => unary!(f32 => f32, math::tanh::<FMA>),
        Code::Floor => unary!(f32 => f32, f32::floor),
        Code::RoundF16 => unary!(f32 => f32, |x: f32| convert::from_f16(convert::to_f16(x))),
        Code::RoundBf16 => unary!(f32 => f32, |x: f32| convert::from_bf16(convert::to_bf16(x))),
        Code::NotBool => unary!(u32 => u32, |x: u32| x ^ 1),
        Code::NotI => unary!(u32 => u32, |x: u32| !x),
        Code::AddF => binary!(f32 => f32, |a: f32, b: f32| a + b),
        Code::AddI => binary!(u32 => u32, u32::wrapping_add),
        Code::SubF => binary!(f32 => f32, |a: f32, b: f32| a - b),
        Code::SubI => binary!(u32 => u32, u32::wrapping_sub),
        Code::MulF => binary!(f32 => f32, |a: f32, b: f32| a * b),
        Code::MulI => binary!(u32 => u32, u32::wrapping_mul),
        Code::MaxF => binary!(f32 => f32, max),
        Code::MaxI => binary!(i32 => i32, |a: i32, b: i32| a.max(b)),
        Code::MaxU => binary!(u32 => u32, |a: u32, b: u32| a.max(b)),
        Code::MinF => binary!(f32 => f32, min),
        Code::MinI => binary!(i32 => i32, |a: i32, b: i32| a.min(b)),
        Code::MinU => binary!(u32 => u32, |a: u32, b: u32| a.min(b)),
        Code::LessF => binary!(f32 => u32, |a: f32, b: f32| u32::from(a < b)),
        Code::LessI => binary!(i32 => u32, |a: i32, b: i32| u32::from(a < b)),
        Code::LessU => binary!(u32 => u32, |a: u32, b: u32| u32::from(a < b)),
        Code::EqualF => binary!(f32 => u32, |a: f32, b: f32| u32::from(a == b)),
        Code::EqualI => binary!(u32 => u32, |a: u32, b: u32| u32::from(a == b)),
        Code::And => binary!(u32 => u32, |a: u32, b: u32| a & b),
        Code::Or => binary!(u32 => u32, |a: u32, b: u32| a | b),
        Code::Xor => binary!(u32 => u32, |a: u32, b: u32| a ^ b),
        Code::Shl => binary!(u32 => u32, u32::wrapping_shl),
        Code::Shr => binary!(u32 => u32, u32::wrapping_shr),
        Code::Select => {
            let (to, c) = (frame.lanes::<u32>(op.to), frame.lanes::<u32>(op.c));
            let (a, b) = (frame.lanes::<u32>(op.a), frame.lanes::<u32>(op.b));
            let (mut lane, count) = (0, frame.rounded());
            while lane < count {
                // SAFETY: as above.
                unsafe {
                    // Bit by bit: of `if`, LLVM makes a choice between addresses, which is no vector code.
                    let (chosen, other) = (*a.add(lane), *b.add(lane));
                    let mask = u32::from(*c.add(lane) != 0).wrapping_neg();
                    *to.add(lane) = other ^ ((chosen ^ other) & mask);
                }
                lane += 1;
            }
        }
        Code::FloatToInt => unary!(f32 => i32, |x: f32| x as i32),
        Code::FloatToUnsigned => unary!(f32 => u32, |x: f32| x as u32),
        Code::FloatToBool => unary!(f32 => u32, |x: f32| u32::from(x != 0.0)),
        Code::IntToFloat => unary!(i32 => f32, |x: i32| x as f32),
        Code::UnsignedToFloat => unary!(u32 => f32, |x: u32| x as f32),
        Code::IntToBool => unary!(u32 => u32, |x: u32| u32::from(x != 0)),
        Code::Copy => unary!(u32 => u32, |x: u32| x),
        Code::SumF => reduce!(f32, |a: f32, b: f32| a + b),
        Code::SumI => reduce!(u32, u32::wrapping_add),
        Code::HighF => reduce!(f32, max),
        Code::HighI => reduce!(i32, |a: i32, b: i32| a.max(b)),
        Code::HighU => reduce!(u32, |a: u32, b: u32| a.max(b)),
        Code::LowF => reduce!(f32, min),
        Code::LowI => reduce!(i32, |a: i32, b: i32| a.min(b)),
        Code::LowU => reduce!(u32, |a: u32, b: u32| a.min(b)),
    }
}
