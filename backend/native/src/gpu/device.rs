//! A wgpu device that runs plans.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use wgpu::{
    Adapter, Buffer, BufferDescriptor, BufferUsages, CommandEncoder, CommandEncoderDescriptor, ComputePassDescriptor,
    DeviceDescriptor, MapMode, PollType, SubmissionIndex,
};

use super::adapter;
use super::loaded::Loaded;
use super::memory::{Allocation, Memory, padded};
use super::pipelines::Pipelines;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::plan::{Mode, Plan};
use crate::{ensure, fail};

/// Seconds that one submission should take: drivers reset a device that one keeps busy for seconds, and between two of
/// them a run can be cancelled.
const SLICE: f64 = 0.1;

/// Submissions of a run that may wait in the queue while the next one is being recorded.
const QUEUED_SLICES: usize = 2;

/// Runs that may wait in the queue while the next one is being recorded.
const QUEUED_RUNS: usize = 2;

/// Bytes that go up or down at once; more would need as much memory again for staging.
const TRANSFER: u64 = 64 << 20;

/// The status word while nothing has happened.
const FINE: u32 = u32::MAX;

pub struct GpuDevice {
    device: wgpu::Device,
    queue: wgpu::Queue,
    description: Value,
    /// Nothing is submitted any more: the run in progress ends, later ones are refused.
    cancelled: AtomicBool,
    /// What the driver reported outside of any call of ours.
    trouble: Arc<Mutex<Option<String>>>,
    state: Mutex<State>,
}

/// Memory that reading goes through, and its bytes.
type Staging = Option<(Buffer, u64)>;

/// What submitting a run changes of the device's state.
struct Progress<'a> {
    queued: &'a mut VecDeque<SubmissionIndex>,
    speed: &'a mut f64,
    staging: &'a mut Staging,
}

struct State {
    memory: Memory,
    pipelines: Pipelines,
    plans: HashMap<u64, Loaded>,
    next_plan: u64,
    word: Allocation,
    staging: Staging,
    queued: VecDeque<SubmissionIndex>,
    /// Scalar operations per second, as far as submissions have shown.
    speed: f64,
}

/// The bytes `offset … offset + length` of `allocation`, or an error.
fn check_range(what: &str, handle: u64, allocation: &Allocation, offset: u64, length: usize) -> Result<()> {
    let inside = offset.checked_add(length as u64).is_some_and(|end| end <= allocation.bytes);
    ensure!(inside, "{what}: {length} bytes at {offset} of buffer {handle}, which has {}", allocation.bytes);
    Ok(())
}

impl GpuDevice {
    pub fn open(adapter: Adapter) -> Result<Self> {
        let description = adapter::describe(&adapter);
        let software = adapter::is_software(&adapter);
        let descriptor = DeviceDescriptor {
            label: Some("xft"),
            required_limits: adapter::limits(&adapter),
            required_features: adapter::features(&adapter),
            experimental_features: adapter::experimental(&adapter),
            memory_hints: wgpu::MemoryHints::Performance,
            ..DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| Error(format!("wgpu: {} does not open: {error}", adapter.get_info().name)))?;
        let trouble = Arc::new(Mutex::new(None));
        let note = |trouble: &Arc<Mutex<Option<String>>>, message: String| {
            trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
        };
        let lost = Arc::clone(&trouble);
        device.set_device_lost_callback(move |reason, message| {
            if !matches!(reason, wgpu::DeviceLostReason::Destroyed) {
                note(&lost, format!("the device was lost ({message}): start again from the last checkpoint"));
            }
        });
        let uncaptured = Arc::clone(&trouble);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&uncaptured, error.to_string())));
        let mut memory = Memory::new(device.clone());
        let word = memory.create("status", 4)?;
        queue.write_buffer(&word.buffer, 0, &FINE.to_ne_bytes());
        let state = State {
            memory,
            pipelines: Pipelines::new(device.clone()),
            plans: HashMap::new(),
            next_plan: 1,
            word,
            staging: None,
            queued: VecDeque::new(),
            // What a slow device does; a fast one shows it with the first submissions.
            speed: if software { 2e8 } else { 2e10 },
        };
        Ok(Self { device, queue, description, cancelled: AtomicBool::new(false), trouble, state: Mutex::new(state) })
    }

    /// The device's state; an error if the driver gave up.
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        self.check()?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn check(&self) -> Result<()> {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(message) => Err(Error(format!("wgpu: {message}"))),
            None => Ok(()),
        }
    }

    fn wait(&self, submission: Option<SubmissionIndex>) -> Result<()> {
        let poll = PollType::Wait { submission_index: submission, timeout: None };
        self.device.poll(poll).map_err(|error| Error(format!("wgpu: {error}")))?;
        self.check()
    }

    /// Does `work` and turns what the driver has against it into an error.
    fn scoped<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = work();
        let invalid = pollster::block_on(validation.pop());
        let full = pollster::block_on(memory.pop());
        let value = result?;
        if full.is_some() {
            fail!("wgpu: {what}: out of memory");
        }
        match invalid {
            Some(error) => Err(Error(format!("wgpu: {what}: {error}"))),
            None => Ok(value),
        }
    }

    /// Records and submits a plan's steps in slices, and learns from them how fast the device is.
    fn submit(
        &self,
        loaded: &mut Loaded,
        memory: &Memory,
        handles: &[u64],
        Progress { queued, speed, staging }: Progress<'_>,
    ) -> Result<()> {
        let count = loaded.len();
        let mut waiting: VecDeque<(SubmissionIndex, f64)> = VecDeque::new();
        let mut idle_since = Instant::now();
        let mut from = 0;
        loop {
            ensure!(!self.cancelled.load(Ordering::Relaxed), "the run was cancelled");
            let (to, work) = loaded.slice(from, *speed * SLICE);
            let mut encoder = self.device.create_command_encoder(&CommandEncoderDescriptor::default());
            if loaded.timing.is_some() {
                self.encode_timed(loaded, memory, handles, from..to, &mut encoder)?;
            } else {
                let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
                if from == 0 {
                    loaded.encode_poison(&self.device, memory, &mut pass);
                }
                loaded.encode(&self.device, memory, handles, from..to, &mut pass)?;
                if to == count {
                    loaded.encode_status(&mut pass);
                }
            }
            let submission = self.queue.submit([encoder.finish()]);
            if let Some(timing) = &mut loaded.timing
                && to > from
            {
                let mut ticks = vec![0_u64; 2 * (to - from)];
                self.read_words(staging, &timing.ticks, 0, bytemuck::cast_slice_mut(&mut ticks))?;
                timing.count(from, &ticks);
            }
            from = to;
            if from == count {
                queued.push_back(submission);
                return Ok(());
            }
            waiting.push_back((submission, work));
            if waiting.len() >= QUEUED_SLICES
                && let Some((oldest, done)) = waiting.pop_front()
            {
                self.wait(Some(oldest))?;
                let seconds = idle_since.elapsed().as_secs_f64();
                idle_since = Instant::now();
                // Short ones tell more about the cost of submitting.
                if seconds > SLICE / 10.0 {
                    *speed = (done / seconds).clamp(*speed / 4.0, *speed * 4.0);
                } else {
                    *speed *= 2.0;
                }
            }
        }
    }

    /// Records steps of a timed plan: each in a pass of its own, between two timestamps.
    fn encode_timed(
        &self,
        loaded: &mut Loaded,
        memory: &Memory,
        handles: &[u64],
        range: std::ops::Range<usize>,
        encoder: &mut CommandEncoder,
    ) -> Result<()> {
        if range.start == 0 {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            loaded.encode_poison(&self.device, memory, &mut pass);
        }
        for (number, at) in (0..).zip(range.clone()) {
            let timestamp_writes = loaded.timing.as_ref().map(|timing| timing.writes(number));
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor { label: None, timestamp_writes });
            loaded.encode(&self.device, memory, handles, at..at + 1, &mut pass)?;
        }
        if range.end == loaded.len() {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            loaded.encode_status(&mut pass);
        }
        let count = u32::try_from(range.len()).unwrap_or(u32::MAX);
        if let Some(timing) = &loaded.timing
            && count > 0
        {
            timing.resolve(count, encoder);
        }
        Ok(())
    }

    /// Reads whole words, at most [`TRANSFER`] bytes of them.
    fn read_words(&self, staging: &mut Staging, buffer: &Buffer, offset: u64, into: &mut [u8]) -> Result<()> {
        let bytes = into.len() as u64;
        if staging.as_ref().is_none_or(|(_, size)| *size < bytes) {
            let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
            let size = bytes.next_power_of_two().max(65536);
            let descriptor = BufferDescriptor { label: Some("staging"), size, usage, mapped_at_creation: false };
            *staging = Some((self.device.create_buffer(&descriptor), size));
        }
        let Some((staging, _)) = staging else { fail!("wgpu: no staging buffer") };
        let mut encoder = self.device.create_command_encoder(&CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, offset, staging, 0, bytes);
        let submission = self.queue.submit([encoder.finish()]);
        let slice = staging.slice(..bytes);
        let (sender, receiver) = std::sync::mpsc::channel();
        slice.map_async(MapMode::Read, move |result| {
            // The receiver is gone only if waiting failed, and then nobody asks.
            let _ = sender.send(result);
        });
        self.wait(Some(submission))?;
        let mapped = receiver.try_recv().map_err(|_| Error("wgpu: reading did not finish".to_owned()))?;
        mapped.map_err(|error| Error(format!("wgpu: reading: {error}")))?;
        let view = slice.get_mapped_range().map_err(|error| Error(format!("wgpu: reading: {error}")))?;
        into.copy_from_slice(&view);
        drop(view);
        staging.unmap();
        Ok(())
    }

    /// Reads any bytes.
    fn read_bytes(&self, state: &mut State, buffer: &Buffer, offset: u64, into: &mut [u8]) -> Result<()> {
        let first = offset / 4 * 4;
        let end = padded(offset + into.len() as u64);
        if first == offset && end == offset + into.len() as u64 {
            for (chunk, part) in (0..).zip(into.chunks_mut(TRANSFER as usize)) {
                self.read_words(&mut state.staging, buffer, offset + chunk * TRANSFER, part)?;
            }
            return Ok(());
        }
        let length = usize::try_from(end - first).map_err(|_| Error("too many bytes".to_owned()))?;
        let mut words = vec![0; length];
        self.read_bytes(state, buffer, first, &mut words)?;
        let skip = usize::try_from(offset - first).unwrap_or(0);
        into.copy_from_slice(&words[skip..skip + into.len()]);
        Ok(())
    }
}

impl Device for GpuDevice {
    fn info(&self) -> Value {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut info = self.description.clone();
        info["usedBytes"] = state.memory.used().into();
        info["peakBytes"] = state.memory.peak().into();
        info
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        self.state()?.memory.allocate(bytes)
    }

    fn free(&self, buffer: u64) -> Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).memory.free(buffer)
    }

    fn write(&self, buffer: u64, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.state()?;
        let allocation = state.memory.get(buffer)?.clone();
        check_range("write", buffer, &allocation, offset, data.len())?;
        if data.is_empty() {
            return Ok(());
        }
        let target = &allocation.buffer;
        self.scoped("writing", || {
            if offset.is_multiple_of(4) && data.len().is_multiple_of(4) {
                for (chunk, part) in (0..).zip(data.chunks(TRANSFER as usize)) {
                    self.queue.write_buffer(target, offset + chunk * TRANSFER, part);
                    if part.len() as u64 == TRANSFER {
                        // Staging memory is given back once the copy has run.
                        let submission = self.queue.submit([]);
                        self.wait(Some(submission))?;
                    }
                }
                return Ok(());
            }
            // Words that are written in part keep their other bytes.
            let first = offset / 4 * 4;
            let end = padded(offset + data.len() as u64);
            let length = usize::try_from(end - first).map_err(|_| Error("too many bytes".to_owned()))?;
            let mut words = vec![0; length];
            self.read_bytes(&mut state, target, first, &mut words)?;
            let skip = usize::try_from(offset - first).unwrap_or(0);
            words[skip..skip + data.len()].copy_from_slice(data);
            self.queue.write_buffer(target, first, &words);
            Ok(())
        })
    }

    fn read(&self, buffer: u64, offset: u64, into: &mut [u8]) -> Result<()> {
        let mut state = self.state()?;
        let allocation = state.memory.get(buffer)?.clone();
        check_range("read", buffer, &allocation, offset, into.len())?;
        if into.is_empty() {
            return Ok(());
        }
        self.scoped("reading", || self.read_bytes(&mut state, &allocation.buffer, offset, into))
    }

    fn load(&self, plan: Plan) -> Result<u64> {
        let mut state = self.state()?;
        let State { memory, pipelines, word, .. } = &mut *state;
        let loaded = self.scoped("loading a plan", || {
            Loaded::new(&self.device, &self.queue, pipelines, memory, plan, &word.buffer)
        })?;
        let handle = state.next_plan;
        state.next_plan += 1;
        state.plans.insert(handle, loaded);
        Ok(handle)
    }

    fn unload(&self, plan: u64) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = state.plans.remove(&plan).ok_or_else(|| Error(format!("there is no plan {plan}")))?;
        loaded.release(&mut state.memory);
        Ok(())
    }

    fn run(&self, plan: u64, arguments: &mut [u64], upload: &[u8]) -> Result<()> {
        let mut state = self.state()?;
        let State { memory, plans, queued, speed, staging, .. } = &mut *state;
        let loaded = plans.get_mut(&plan).ok_or_else(|| Error(format!("there is no plan {plan}")))?;
        let wanted = &loaded.plan.arguments;
        ensure!(arguments.len() == wanted.len(), "run: {} arguments, the plan has {}", arguments.len(), wanted.len());
        let bytes = upload.len() as u64;
        ensure!(bytes == loaded.plan.upload, "run: {bytes} bytes of upload, the plan has {}", loaded.plan.upload);
        for (at, (&handle, argument)) in arguments.iter().zip(wanted).enumerate() {
            if handle == 0 && argument.mode == Mode::Out {
                continue;
            }
            let has = memory.get(handle).map_err(|error| Error(format!("run: argument {at}: {error}")))?.bytes;
            ensure!(has >= argument.bytes, "run: argument {at} has {has} bytes, the plan needs {}", argument.bytes);
        }
        while queued.len() >= QUEUED_RUNS {
            self.wait(queued.pop_front())?;
        }
        let mut handles = arguments.to_vec();
        let mut made = Vec::new();
        let result = self.scoped("running a plan", || {
            for (handle, argument) in handles.iter_mut().zip(&loaded.plan.arguments) {
                if *handle == 0 {
                    *handle = memory.allocate(argument.bytes)?;
                    made.push(*handle);
                }
            }
            if let Some(target) = &loaded.upload {
                let mut words = upload.to_vec();
                words.resize(words.len().next_multiple_of(4), 0);
                self.queue.write_buffer(&target.buffer, 0, &words);
            }
            self.submit(loaded, memory, &handles, Progress { queued, speed, staging })
        });
        match result {
            Ok(()) => arguments.copy_from_slice(&handles),
            Err(_) => {
                for handle in made {
                    memory.free(handle)?;
                }
            }
        }
        result
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn profile(&self, plan: u64) -> Result<Vec<u64>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = state.plans.get(&plan).ok_or_else(|| Error(format!("there is no plan {plan}")))?;
        Ok(loaded.timing.as_ref().map(|timing| timing.spent.clone()).unwrap_or_default())
    }

    fn status(&self) -> Result<u32> {
        let mut state = self.state()?;
        let word = state.word.buffer.clone();
        let mut bytes = [0; 4];
        self.scoped("reading", || self.read_bytes(&mut state, &word, 0, &mut bytes))?;
        let status = u32::from_ne_bytes(bytes);
        if status == FINE {
            return Ok(0);
        }
        self.queue.write_buffer(&word, 0, &FINE.to_ne_bytes());
        Ok(status)
    }

    fn used_bytes(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).memory.used()
    }
}
