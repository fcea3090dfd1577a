//! What each instruction does to a block, as loops that LLVM turns into vector code: once for every processor, once
//! for AVX2 and once for AVX-512, chosen at the start.

use super::walk::Run;
use super::{Block, Code, LANES, Op, Tape, TapeAccess, TapeGather};
use crate::cpu::{Status, convert, math};
use crate::plan::StorageType;

/// What a run of instructions works on.
pub struct Frame<'a> {
    pub tape: &'a Tape,
    pub blocks: *mut Block,
    /// Start of each slot's memory.
    pub slots: &'a [*mut u8],
    /// Value of each line at lane 0 of the current scalar index.
    pub bases: &'a [i64],
    /// First lane of the block.
    pub position: usize,
    pub count: usize,
    pub status: Status<'a>,
}

/// Runs instructions over one block.
///
/// # Safety
/// The tape is the translation of a validated kernel, the slots are as large as its bindings say, the frame's blocks
/// are as many as the tape's and belong to this thread; nobody else writes what the kernel touches.
pub type Runner = unsafe fn(&[Op], &Frame<'_>);

/// The best variant that this processor runs.
pub fn runner() -> Runner {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
        {
            return run_avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return run_avx2;
        }
    }
    run_plain
}

/// Every processor of its architecture; on ARM64 multiply-add is always there.
unsafe fn run_plain(ops: &[Op], frame: &Frame<'_>) {
    // SAFETY: the caller's contract.
    unsafe { run_all::<{ cfg!(target_arch = "aarch64") }>(ops, frame) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2")]
unsafe fn run_avx2(ops: &[Op], frame: &Frame<'_>) {
    // SAFETY: the caller's contract.
    unsafe { run_all::<true>(ops, frame) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
unsafe fn run_avx512(ops: &[Op], frame: &Frame<'_>) {
    // SAFETY: the caller's contract.
    unsafe { run_all::<true>(ops, frame) }
}

/// A type of the lanes of a block.
trait Lane: Copy {}
impl Lane for f32 {}
impl Lane for i32 {}
impl Lane for u32 {}

impl Frame<'_> {
    /// Lanes of a block as T.
    ///
    /// # Safety
    /// The block exists, and is not written while the result lives.
    #[inline(always)]
    unsafe fn source<T: Lane>(&self, block: u16, count: usize) -> &[T] {
        // SAFETY: a block holds 256 initialised words, valid as any `Lane`; `count` ≤ 256.
        unsafe { std::slice::from_raw_parts(self.blocks.add(block.into()).cast::<T>(), count) }
    }

    /// # Safety
    /// The block exists, and nobody else uses it while the result lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "blocks are scratch behind a pointer, distinct by number")]
    unsafe fn target<T: Lane>(&self, block: u16, count: usize) -> &mut [T] {
        // SAFETY: as `source`.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.add(block.into()).cast::<T>(), count) }
    }

    /// Lanes to compute where computing too many does no harm: whole vectors, no rest.
    #[inline(always)]
    fn rounded(&self) -> usize {
        (self.count.div_ceil(16) * 16).min(LANES)
    }
}

#[inline(always)]
fn map<A: Lane, R: Lane>(to: &mut [R], a: &[A], f: impl Fn(A) -> R) {
    for (to, &a) in to.iter_mut().zip(a) {
        *to = f(a);
    }
}

#[inline(always)]
fn zip<A: Lane, R: Lane>(to: &mut [R], a: &[A], b: &[A], f: impl Fn(A, A) -> R) {
    for ((to, &a), &b) in to.iter_mut().zip(a).zip(b) {
        *to = f(a, b);
    }
}

/// The larger one; NaN if either is.
#[inline(always)]
#[allow(clippy::eq_op, reason = "a NaN differs from itself")]
pub fn max(a: f32, b: f32) -> f32 {
    if a > b || a != a { a } else { b }
}

/// The smaller one; NaN if either is.
#[inline(always)]
#[allow(clippy::eq_op, reason = "a NaN differs from itself")]
pub fn min(a: f32, b: f32) -> f32 {
    if a < b || a != a { a } else { b }
}

/// How an element lies in memory.
trait Element {
    type Raw: Copy;
    fn widen(raw: Self::Raw) -> u32;
    fn narrow(word: u32) -> Self::Raw;
}

struct Word;
struct Half;
struct Brain;

impl Element for Word {
    type Raw = u32;
    #[inline(always)]
    fn widen(raw: u32) -> u32 {
        raw
    }
    #[inline(always)]
    fn narrow(word: u32) -> u32 {
        word
    }
}

impl Element for Half {
    type Raw = u16;
    #[inline(always)]
    fn widen(raw: u16) -> u32 {
        convert::from_f16(raw).to_bits()
    }
    #[inline(always)]
    fn narrow(word: u32) -> u16 {
        convert::to_f16(f32::from_bits(word))
    }
}

impl Element for Brain {
    type Raw = u16;
    #[inline(always)]
    fn widen(raw: u16) -> u32 {
        convert::from_bf16(raw).to_bits()
    }
    #[inline(always)]
    fn narrow(word: u32) -> u16 {
        convert::to_bf16(f32::from_bits(word))
    }
}

/// # Safety
/// `from + stride · lane` is readable for each lane of `to`.
#[inline(always)]
unsafe fn load_lanes<E: Element>(to: &mut [u32], from: *const E::Raw, stride: isize) {
    match stride {
        // SAFETY (all three): the caller's contract.
        0 => to.fill(E::widen(unsafe { from.read() })),
        1 => {
            for (lane, to) in to.iter_mut().enumerate() {
                *to = E::widen(unsafe { from.add(lane).read() });
            }
        }
        _ => {
            for (lane, to) in to.iter_mut().enumerate() {
                *to = E::widen(unsafe { from.offset(stride * lane as isize).read() });
            }
        }
    }
}

/// # Safety
/// `to + stride · lane` is writable for each lane of `from`, and `from` lies elsewhere.
#[inline(always)]
unsafe fn store_lanes<E: Element>(from: &[u32], to: *mut E::Raw, stride: isize) {
    if stride == 1 {
        for (lane, &word) in from.iter().enumerate() {
            // SAFETY: the caller's contract.
            unsafe { to.add(lane).write(E::narrow(word)) };
        }
    } else {
        for (lane, &word) in from.iter().enumerate() {
            // SAFETY: the caller's contract.
            unsafe { to.offset(stride * lane as isize).write(E::narrow(word)) };
        }
    }
}

/// The index of a gather at a lane, if there is an element there.
///
/// # Safety
/// As [`Runner`].
#[inline(always)]
unsafe fn gathered(frame: &Frame<'_>, gather: TapeGather, lane: usize) -> Option<i64> {
    // SAFETY: the gather's block exists and is no instruction's target now.
    let index = unsafe { frame.source::<i32>(gather.block, LANES) }[lane];
    if (0..gather.size).contains(&i64::from(index)) {
        return Some(i64::from(index) * gather.stride);
    }
    if index != -1 {
        frame.status.report();
    }
    None
}

/// # Safety
/// As [`Runner`].
#[inline(always)]
unsafe fn load<E: Element>(op: &Op, frame: &Frame<'_>, access: &TapeAccess) {
    // SAFETY: the target is no gather's block.
    let to = unsafe { frame.target::<u32>(op.to, frame.count) };
    let memory = frame.slots[access.slot].cast::<E::Raw>().cast_const();
    let stride = access.walk.lines[0].strides[access.walk.sizes.len() - 1] as isize;
    let visit = |run: Run<'_>| {
        let to = &mut to[run.lane..run.lane + run.length];
        let (low, high) = access.walk.valid(&run, &access.sizes);
        to[..low].fill(0);
        to[high..].fill(0);
        let start = run.values[0] as isize + stride * low as isize;
        match access.gather {
            // SAFETY (all): validation proved that guarded, gathered addresses lie in the slot.
            None if low < high => unsafe { load_lanes::<E>(&mut to[low..high], memory.offset(start), stride) },
            Some(gather) if gather.uniform && low < high => match unsafe { gathered(frame, gather, run.lane + low) } {
                Some(further) => unsafe {
                    load_lanes::<E>(&mut to[low..high], memory.offset(start + further as isize), stride);
                },
                None => to[low..high].fill(0),
            },
            Some(gather) => {
                for lane in low..high {
                    to[lane] = match unsafe { gathered(frame, gather, run.lane + lane) } {
                        Some(further) => {
                            let place = run.values[0] as isize + stride * lane as isize + further as isize;
                            E::widen(unsafe { memory.offset(place).read() })
                        }
                        None => 0,
                    };
                }
            }
            None => {}
        }
    };
    access.walk.runs(frame.bases, frame.position, frame.count, visit);
}

/// # Safety
/// As [`Runner`].
#[inline(always)]
unsafe fn store<E: Element>(op: &Op, frame: &Frame<'_>, access: &TapeAccess) {
    // SAFETY: nothing writes the block meanwhile.
    let from = unsafe { frame.source::<u32>(op.a, frame.count) };
    let memory = frame.slots[access.slot].cast::<E::Raw>();
    let stride = access.walk.lines[0].strides[access.walk.sizes.len() - 1] as isize;
    let visit = |run: Run<'_>| {
        let from = &from[run.lane..run.lane + run.length];
        let (low, high) = access.walk.valid(&run, &access.sizes);
        match access.gather {
            // SAFETY (all): validation proved that guarded, gathered addresses lie in the slot.
            None if low < high => {
                let start = run.values[0] as isize + stride * low as isize;
                unsafe { store_lanes::<E>(&from[low..high], memory.offset(start), stride) };
            }
            None => {}
            Some(gather) => {
                for lane in low..high {
                    if let Some(further) = unsafe { gathered(frame, gather, run.lane + lane) } {
                        let place = run.values[0] as isize + stride * lane as isize + further as isize;
                        unsafe { memory.offset(place).write(E::narrow(from[lane])) };
                    }
                }
            }
        }
    };
    access.walk.runs(frame.bases, frame.position, frame.count, visit);
}

/// sin and cos: the few arguments that are too large for the vector code get their own.
#[inline(always)]
fn trigonometry(to: &mut [f32], a: &[f32], near: impl Fn(f32) -> f32, far: impl Fn(f32) -> f32) {
    map(to, a, near);
    if a.iter().fold(false, |any, x| any | (x.abs() > math::FAR)) {
        for (to, &x) in to.iter_mut().zip(a) {
            if x.abs() > math::FAR {
                *to = far(x);
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
    // SAFETY (all four macros): the tape's blocks exist, and `compile` gave destination and sources different ones.
    macro_rules! unary {
        ($from:ty => $to:ty, $f:expr) => {{
            let count = frame.rounded();
            unsafe { map::<$from, $to>(frame.target(op.to, count), frame.source(op.a, count), $f) }
        }};
    }
    macro_rules! binary {
        ($from:ty => $to:ty, $f:expr) => {{
            let count = frame.rounded();
            let (a, b) = unsafe { (frame.source(op.a, count), frame.source(op.b, count)) };
            unsafe { zip::<$from, $to>(frame.target(op.to, count), a, b, $f) }
        }};
    }
    // Exactly `count` lanes: what follows them must not be counted.
    macro_rules! reduce {
        ($kind:ty, $f:expr) => {{
            let to = unsafe { frame.target::<$kind>(op.to, frame.count) };
            let a = unsafe { frame.source::<$kind>(op.a, frame.count) };
            for (to, &a) in to.iter_mut().zip(a) {
                *to = $f(*to, a);
            }
        }};
    }
    macro_rules! trigonometry {
        ($near:expr, $far:expr) => {{
            let count = frame.count;
            unsafe { trigonometry(frame.target(op.to, count), frame.source(op.a, count), $near, $far) }
        }};
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
            let walk = &frame.tape.indices[usize::from(op.place)];
            // SAFETY: as above.
            let to = unsafe { frame.target::<i32>(op.to, frame.count) };
            let stride = walk.lines[0].strides[walk.sizes.len() - 1] as i32;
            walk.runs(frame.bases, frame.position, frame.count, |run| {
                let start = run.values[0] as i32;
                for (lane, to) in to[run.lane..run.lane + run.length].iter_mut().enumerate() {
                    *to = start.wrapping_add(stride.wrapping_mul(lane as i32));
                }
            });
        }
        Code::NegF => unary!(f32 => f32, |x: f32| -x),
        Code::NegI => unary!(u32 => u32, u32::wrapping_neg),
        Code::AbsF => unary!(f32 => f32, f32::abs),
        Code::AbsI => unary!(i32 => i32, i32::wrapping_abs),
        Code::Exp => unary!(f32 => f32, math::exp::<FMA>),
        Code::Log => unary!(f32 => f32, math::log::<FMA>),
        Code::Recip => unary!(f32 => f32, |x: f32| 1.0 / x),
        Code::Sqrt => unary!(f32 => f32, f32::sqrt),
        Code::Sin => trigonometry!(math::sin, |x| math::sin_cos_far(x).0),
        Code::Cos => trigonometry!(math::cos, |x| math::sin_cos_far(x).1),
        Code::Tanh => unary!(f32 => f32, math::tanh::<FMA>),
        Code::Erf => unary!(f32 => f32, math::erf::<FMA>),
        Code::Floor => unary!(f32 => f32, f32::floor),
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
            let count = frame.rounded();
            // SAFETY: as above.
            let (to, c) = unsafe { (frame.target::<u32>(op.to, count), frame.source::<u32>(op.c, count)) };
            // SAFETY: as above.
            let (a, b) = unsafe { (frame.source::<u32>(op.a, count), frame.source::<u32>(op.b, count)) };
            for (((to, &c), &a), &b) in to.iter_mut().zip(c).zip(a).zip(b) {
                *to = if c != 0 { a } else { b };
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
