//! The CPU device: everything in one process' memory, work shared among rayon's threads.

mod axes;
mod behind;
mod contract;
mod convert;
mod execute;
mod grouped;
mod math;
mod memory;
mod order;
mod product;
mod scatter;
mod simd;
mod small;
mod tape;
#[cfg(test)]
mod tests;
mod topk;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::json;

use crate::device::Device;
use crate::ensure;
use crate::error::{Error, Result};
use crate::plan::{Mode, Plan, PlanBuffer};
use execute::Prepared;
use memory::Memory;

/// What fills the arena of a plan that asks for it: NaN as f32, and as two 16-bit reals of either kind.
const POISON: u32 = 0x7fff_7fff;
/// "Without limit", as far as JavaScript counts.
const LARGE: u64 = (1 << 53) - 1;

/// Where a step reports an index out of range: the first one stays until it is read.
#[derive(Clone, Copy)]
pub struct Status<'a> {
    word: &'a AtomicU32,
    /// The step's number + 1.
    mark: u32,
}

impl Status<'_> {
    #[cold]
    pub fn report(self) {
        let _ = self.word.compare_exchange(0, self.mark, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A lock that outlives a panic: memory stays memory.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A buffer. Whoever touches its bytes holds its lock.
type Buffer = Arc<Mutex<Memory>>;

struct Loaded {
    plan: Plan,
    kernels: Vec<Prepared>,
    /// Per argument: is it written?
    written: Vec<bool>,
    /// Nanoseconds that each step took in all runs so far.
    spent: Vec<AtomicU64>,
}

/// Bytes now, and at most.
#[derive(Default)]
struct Use {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Use {
    fn add(&self, bytes: u64) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    fn remove(&self, bytes: u64) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }
}

struct Cpu {
    pool: rayon::ThreadPool,
    runner: tape::Runner,
    next: AtomicU64,
    buffers: Mutex<HashMap<u64, Buffer>>,
    plans: Mutex<HashMap<u64, Arc<Loaded>>>,
    /// Chunks, each as large as the largest any plan asked for. Held during a run: one step at a time.
    arena: Mutex<Vec<Memory>>,
    status: AtomicU32,
    /// No step is run any more: the run in progress ends, later ones are refused.
    cancelled: AtomicBool,
    used: Use,
}

/// Opens the device with a thread per processor, or as many as `XFT_THREADS` says.
pub fn open() -> Result<Arc<dyn Device>> {
    let threads = match std::env::var("XFT_THREADS") {
        Ok(text) => match text.parse::<usize>() {
            Ok(threads) if (1..=1024).contains(&threads) => threads,
            _ => crate::fail!("XFT_THREADS={text}: expected a number from 1 to 1024"),
        },
        Err(_) => 0,
    };
    Ok(Arc::new(Cpu::new(threads)?))
}

/// Bytes of the machine's memory, where it is known.
fn machine_memory() -> u64 {
    let information = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = information
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.map_or(LARGE, |kibibytes| kibibytes * 1024)
}

fn machine_name() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

impl Cpu {
    /// `threads` 0: one per processor.
    fn new(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("xft-{number}"))
            .build()
            .map_err(|error| Error(format!("cannot start threads: {error}")))?;
        Ok(Self {
            pool,
            runner: tape::runner(),
            next: AtomicU64::new(1),
            buffers: Mutex::default(),
            plans: Mutex::default(),
            arena: Mutex::default(),
            status: AtomicU32::new(0),
            cancelled: AtomicBool::new(false),
            used: Use::default(),
        })
    }

    fn handle(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn buffer(&self, handle: u64) -> Result<Buffer> {
        let buffer = lock(&self.buffers).get(&handle).cloned();
        buffer.ok_or_else(|| Error(format!("no buffer with handle {handle}: it was never allocated, or is freed")))
    }

    fn plan(&self, handle: u64) -> Result<Arc<Loaded>> {
        let plan = lock(&self.plans).get(&handle).cloned();
        plan.ok_or_else(|| Error(format!("no plan with handle {handle}: it was never loaded, or is unloaded")))
    }

    /// Makes the arena's chunks at least as large as a plan needs them.
    fn grow(&self, arena: &mut Vec<Memory>, sizes: &[u64]) -> Result<()> {
        while arena.len() < sizes.len() {
            arena.push(Memory::zeroed(0)?);
        }
        for (chunk, &bytes) in arena.iter_mut().zip(sizes) {
            let old = chunk.bytes() as u64;
            if old < bytes {
                // The old one goes first: nothing in it outlives a run.
                *chunk = Memory::zeroed(0)?;
                self.used.remove(old);
                *chunk = Memory::zeroed(bytes)?;
                self.used.add(bytes);
            }
        }
        Ok(())
    }

    /// Checks a run's arguments and gives each its buffer. New ones are not in the table yet.
    fn arguments(&self, loaded: &Loaded, handles: &[u64]) -> Result<Vec<Buffer>> {
        let expected = &loaded.plan.arguments;
        ensure!(handles.len() == expected.len(), "{} arguments, the plan takes {}", handles.len(), expected.len());
        let mut buffers = Vec::with_capacity(handles.len());
        for (number, (&handle, argument)) in handles.iter().zip(expected).enumerate() {
            if handle == 0 && argument.mode == Mode::Out {
                buffers.push(Arc::new(Mutex::new(Memory::zeroed(argument.bytes)?)));
                continue;
            }
            let buffer = self.buffer(handle).map_err(|error| Error(format!("argument {number}: {error}")))?;
            let bytes = lock(&buffer).bytes() as u64;
            ensure!(bytes >= argument.bytes, "argument {number}: {bytes} bytes, the plan needs {}", argument.bytes);
            let shared = handles.iter().zip(&loaded.written).enumerate().any(|(other, (&same, &written))| {
                other != number && same == handle && (written || loaded.written[number])
            });
            ensure!(!shared, "argument {number}: the step writes this buffer, and it is another argument too");
            buffers.push(buffer);
        }
        Ok(buffers)
    }
}

/// Locks each buffer once, in one order for all runs: by handle (new ones have none, and nobody else knows them).
fn lock_all<'a>(handles: &[u64], buffers: &'a [Buffer]) -> Vec<MutexGuard<'a, Memory>> {
    let mut order: Vec<usize> = (0..handles.len()).collect();
    order.sort_by_key(|&number| handles[number]);
    order.dedup_by(|a, b| handles[*a] != 0 && handles[*a] == handles[*b]);
    order.into_iter().map(|number| lock(&buffers[number])).collect()
}

/// The address of each of a plan's buffers.
fn addresses(plan: &Plan, arguments: &[*mut u8], arena: &[Memory], upload: &Memory) -> Vec<*mut u8> {
    let further = |start: *mut u8, offset: u64| start.wrapping_add(offset as usize);
    plan.buffers
        .iter()
        .map(|buffer| match *buffer {
            PlanBuffer::Argument { index, offset, .. } => further(arguments[index], offset),
            PlanBuffer::Arena { chunk, offset, .. } => further(arena[chunk].start(), offset),
            PlanBuffer::Upload { offset, .. } => further(upload.start(), offset),
        })
        .collect()
}

/// The steps of one run, to be sent to the pool.
struct Steps<'a> {
    loaded: &'a Loaded,
    addresses: Vec<*mut u8>,
    cancelled: &'a AtomicBool,
    status: &'a AtomicU32,
    runner: tape::Runner,
}

// SAFETY: the addresses are of memory that the run holds locked until the steps have ended.
unsafe impl Send for Steps<'_> {}

impl Steps<'_> {
    /// # Safety
    /// The addresses are those of the plan's buffers, each as long as the plan says, and nobody else uses them.
    unsafe fn run(&self) -> Result<()> {
        let mut slots = Vec::new();
        for (number, step) in self.loaded.plan.steps.iter().enumerate() {
            ensure!(!self.cancelled.load(Ordering::Relaxed), "the run was cancelled");
            slots.clear();
            slots.extend(step.buffers.iter().map(|&buffer| self.addresses[buffer]));
            let status = Status { word: self.status, mark: number as u32 + 1 };
            let start = Instant::now();
            // SAFETY: the caller's contract, and the plan was validated.
            unsafe { self.loaded.kernels[step.kernel].run(&slots, status, self.runner) };
            self.loaded.spent[number].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Device for Cpu {
    fn info(&self) -> serde_json::Value {
        json!({
            "kind": "cpu",
            "name": machine_name(),
            "maxBindings": 64,
            "maxBindingBytes": LARGE,
            "maxBufferBytes": LARGE,
            "memoryBytes": machine_memory(),
            "software": false,
            "maxWorkgroupSize": 1024,
            "workgroupMemoryBytes": 1 << 20,
            "timestamps": true,
            "usedBytes": self.used_bytes(),
            "peakBytes": self.used.peak.load(Ordering::Relaxed),
        })
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        let memory = Memory::kept(bytes)?;
        let handle = self.handle();
        lock(&self.buffers).insert(handle, Arc::new(Mutex::new(memory)));
        self.used.add(bytes);
        Ok(handle)
    }

    fn free(&self, buffer: u64) -> Result<()> {
        let memory = self.buffer(buffer)?;
        if lock(&self.buffers).remove(&buffer).is_some() {
            self.used.remove(lock(&memory).bytes() as u64);
        }
        Ok(())
    }

    fn write(&self, buffer: u64, offset: u64, data: &[u8]) -> Result<()> {
        let buffer = self.buffer(buffer)?;
        let memory = lock(&buffer);
        let to = memory.part(offset, data.len())?;
        // SAFETY: `part` checked the bounds; the lock keeps everyone else away; the caller's bytes lie elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
        Ok(())
    }

    fn read(&self, buffer: u64, offset: u64, into: &mut [u8]) -> Result<()> {
        let buffer = self.buffer(buffer)?;
        let memory = lock(&buffer);
        let from = memory.part(offset, into.len())?;
        // SAFETY: as in `write`.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    fn load(&self, plan: Plan) -> Result<u64> {
        let written = plan.validate()?.written;
        let kernels = plan.kernels.iter().map(Prepared::new).collect::<Result<_>>()?;
        self.grow(&mut lock(&self.arena), &plan.arena)?;
        let handle = self.handle();
        let spent = plan.steps.iter().map(|_| AtomicU64::new(0)).collect();
        lock(&self.plans).insert(handle, Arc::new(Loaded { plan, kernels, written, spent }));
        Ok(handle)
    }

    fn unload(&self, plan: u64) -> Result<()> {
        self.plan(plan)?;
        lock(&self.plans).remove(&plan);
        Ok(())
    }

    fn run(&self, plan: u64, arguments: &mut [u64], upload: &[u8]) -> Result<()> {
        let loaded = self.plan(plan)?;
        let plan = &loaded.plan;
        ensure!(upload.len() as u64 == plan.upload, "{} bytes uploaded, the plan takes {}", upload.len(), plan.upload);
        let buffers = self.arguments(&loaded, arguments)?;
        let aligned = Memory::zeroed(plan.upload)?;
        // SAFETY: just allocated, with as many bytes.
        unsafe { std::ptr::copy_nonoverlapping(upload.as_ptr(), aligned.start(), upload.len()) };
        {
            let mut arena = lock(&self.arena);
            self.grow(&mut arena, &plan.arena)?;
            let starts: Vec<*mut u8> = buffers.iter().map(|buffer| lock(buffer).start()).collect();
            let _locked = lock_all(arguments, &buffers);
            if plan.poison {
                arena.iter_mut().for_each(|chunk| chunk.fill(POISON));
            }
            let addresses = addresses(plan, &starts, &arena, &aligned);
            let (status, cancelled) = (&self.status, &self.cancelled);
            let steps = Steps { loaded: &loaded, addresses, status, cancelled, runner: self.runner };
            // SAFETY: arguments were checked to be long enough, the arena has grown, the upload has its length; the
            // locks are held until the steps have ended.
            self.pool.install(move || unsafe { steps.run() })?;
        }
        for (handle, buffer) in arguments.iter_mut().zip(buffers) {
            if *handle == 0 {
                *handle = self.handle();
                self.used.add(lock(&buffer).bytes() as u64);
                lock(&self.buffers).insert(*handle, buffer);
            }
        }
        Ok(())
    }

    fn profile(&self, plan: u64) -> Result<Vec<u64>> {
        Ok(self.plan(plan)?.spent.iter().map(|nanoseconds| nanoseconds.load(Ordering::Relaxed)).collect())
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn status(&self) -> Result<u32> {
        Ok(self.status.swap(0, Ordering::Relaxed))
    }

    fn used_bytes(&self) -> u64 {
        self.used.now.load(Ordering::Relaxed)
    }
}
