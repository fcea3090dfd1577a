//! A plan, ready to run: each step with its pipeline, its workgroups and, as far as they last, its bind groups.

use wgpu::{BindGroup, BindGroupDescriptor, BindGroupEntry, BindingResource, Buffer, BufferBinding, BufferSize};

use super::memory::{Allocation, Memory, padded};
use super::pipelines::{Pipeline, Pipelines};
use super::timing::Timing;
use crate::error::{Error, Result};
use crate::plan::{Kernel, Plan, PlanBuffer};
use crate::{ensure, fail};

/// Workgroups of the kernels that walk a buffer of any length.
const WALKERS: u32 = 256;

/// Dispatches of one submission, at most: what cheap ones cost is not in their work.
const LONGEST: u32 = 256;

struct Step {
    pipeline: Pipeline,
    workgroups: [u32; 3],
    /// Scalar operations, roughly.
    work: f64,
    /// Numbers of the plan's buffers, in binding order.
    buffers: Vec<usize>,
    /// Which of the plan's status words is bound last.
    status: Option<u32>,
    /// Arguments that the step binds, in binding order.
    arguments: Vec<usize>,
    /// The last bind group, with the handles and the arena that it was made for.
    cached: Option<(Vec<u64>, u64, BindGroup)>,
}

/// The status words of a plan's steps, and the dispatch that gathers them.
struct Status {
    words: Allocation,
    steps: Allocation,
    stride: u64,
    collect: Pipeline,
    group: BindGroup,
}

pub struct Loaded {
    pub plan: Plan,
    steps: Vec<Step>,
    pub upload: Option<Allocation>,
    status: Option<Status>,
    fill: Option<Pipeline>,
    /// Where the plan asks for it and the adapter can.
    pub timing: Option<Timing>,
}

fn entry(binding: u32, buffer: &Buffer, offset: u64, bytes: u64) -> BindGroupEntry<'_> {
    let size = BufferSize::new(padded(bytes));
    BindGroupEntry { binding, resource: BindingResource::Buffer(BufferBinding { buffer, offset, size }) }
}

/// A binding's number.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Loaded {
    /// Compiles a validated plan. `word` is the device's status word.
    pub fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pipelines: &mut Pipelines,
        memory: &mut Memory,
        plan: Plan,
        word: &Buffer,
    ) -> Result<Self> {
        plan.validate()?;
        let limits = device.limits();
        let most = limits.max_storage_buffer_binding_size;
        let grain = u64::from(limits.min_storage_buffer_offset_alignment);
        let mut steps = Vec::with_capacity(plan.steps.len());
        let mut reporting = vec![0_u32];
        for (at, step) in plan.steps.iter().enumerate() {
            let mut status = None;
            let (pipeline, workgroups, work) = match &plan.kernels[step.kernel] {
                Kernel::Wgsl(kernel) => {
                    ensure!(
                        kernel.workgroups.iter().all(|&count| count <= limits.max_compute_workgroups_per_dimension),
                        "plan: kernel {}: {:?} workgroups are more than the adapter allows",
                        step.kernel,
                        kernel.workgroups
                    );
                    if kernel.status {
                        status = Some(number(reporting.len() - 1));
                        reporting.push(number(at));
                    }
                    let bindings = number(step.buffers.len()) + u32::from(kernel.status);
                    (pipelines.get(&kernel.code, bindings)?, kernel.workgroups, kernel.work)
                }
                Kernel::Copy(kernel) => (pipelines.copy()?, [WALKERS, 1, 1], kernel.words as f64),
                _ => fail!("plan: kernel {} is not a shader, this device runs shaders only", step.kernel),
            };
            for &buffer in &step.buffers {
                let (offset, bytes) = (plan.buffers[buffer].offset(), plan.buffers[buffer].bytes());
                ensure!(bytes <= most, "plan: step {at} binds {bytes} bytes, the adapter allows {most} in one binding");
                ensure!(
                    offset % grain == 0,
                    "plan: step {at} binds from byte {offset}, the adapter needs multiples of {grain}"
                );
            }
            let argument = |&buffer: &usize| match plan.buffers[buffer] {
                PlanBuffer::Argument { index, .. } => Some(index),
                _ => None,
            };
            let arguments = step.buffers.iter().filter_map(argument).collect();
            let buffers = step.buffers.clone();
            steps.push(Step { pipeline, workgroups, work, buffers, status, arguments, cached: None });
        }
        let fill = if plan.poison { Some(pipelines.fill()?) } else { None };
        memory.grow_arena(&plan.arena)?;
        let upload = if plan.upload > 0 { Some(memory.create("upload", plan.upload)?) } else { None };
        let status = if reporting.len() > 1 {
            let stride = u64::from(limits.min_storage_buffer_offset_alignment).max(4);
            reporting[0] = number(usize::try_from(stride / 4).unwrap_or(1));
            let words = memory.create("status words", stride * (reporting.len() as u64 - 1))?;
            let steps = memory.create("status steps", 4 * reporting.len() as u64)?;
            queue.write_buffer(&steps.buffer, 0, bytemuck::cast_slice(&reporting));
            let collect = pipelines.collect()?;
            let group = device.create_bind_group(&BindGroupDescriptor {
                label: None,
                layout: &collect.layout,
                entries: &[
                    entry(0, &words.buffer, 0, words.bytes),
                    entry(1, &steps.buffer, 0, steps.bytes),
                    entry(2, word, 0, 4),
                ],
            });
            Some(Status { words, steps, stride, collect, group })
        } else {
            None
        };
        let measured = plan.timed && device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let timing = measured.then(|| Timing::new(device, queue, steps.len(), LONGEST));
        Ok(Self { plan, steps, upload, status, fill, timing })
    }

    /// Gives the plan's own buffers back.
    pub fn release(&self, memory: &mut Memory) {
        let status = self.status.iter().flat_map(|status| [&status.words, &status.steps]);
        for allocation in self.upload.iter().chain(status) {
            memory.forget(allocation);
        }
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Where a slice that begins with step `from` ends, and its work: at least one step, no more than `allowance`.
    pub fn slice(&self, from: usize, allowance: f64) -> (usize, f64) {
        let mut work = 0.0;
        for (at, step) in self.steps.iter().enumerate().skip(from) {
            if at > from && (work + step.work > allowance || at - from == LONGEST as usize) {
                return (at, work);
            }
            work += step.work;
        }
        (self.steps.len(), work)
    }

    /// Records the steps `range` with these buffers as arguments.
    pub fn encode(
        &mut self,
        device: &wgpu::Device,
        memory: &Memory,
        handles: &[u64],
        range: std::ops::Range<usize>,
        pass: &mut wgpu::ComputePass<'_>,
    ) -> Result<()> {
        for at in range {
            let handles = self.steps[at].arguments.iter().map(|&index| handles[index]).collect::<Vec<_>>();
            let current = self.steps[at]
                .cached
                .as_ref()
                .is_some_and(|(cached, generation, _)| *cached == handles && *generation == memory.generation);
            if !current {
                let group = self.bind(device, memory, at, &handles)?;
                self.steps[at].cached = Some((handles, memory.generation, group));
            }
            let Step { pipeline, workgroups: [x, y, z], cached: Some((_, _, group)), .. } = &self.steps[at] else {
                return Err(Error("a step has no bindings".to_owned()));
            };
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
        Ok(())
    }

    fn bind(&self, device: &wgpu::Device, memory: &Memory, at: usize, handles: &[u64]) -> Result<BindGroup> {
        let step = &self.steps[at];
        let mut handles = handles.iter();
        let mut entries = Vec::with_capacity(step.buffers.len() + 1);
        for (binding, &buffer) in step.buffers.iter().enumerate() {
            let binding = number(binding);
            entries.push(match self.plan.buffers[buffer] {
                PlanBuffer::Argument { offset, bytes, .. } => {
                    let handle = handles.next().copied().unwrap_or_default();
                    entry(binding, &memory.get(handle)?.buffer, offset, bytes)
                }
                PlanBuffer::Arena { chunk, offset, bytes } => {
                    entry(binding, &memory.chunk(chunk).buffer, offset, bytes)
                }
                PlanBuffer::Upload { offset, bytes } => match &self.upload {
                    Some(upload) => entry(binding, &upload.buffer, offset, bytes),
                    None => fail!("plan: step {at} reads an upload that the plan has not"),
                },
            });
        }
        if let (Some(word), Some(status)) = (step.status, &self.status) {
            entries.push(entry(number(step.buffers.len()), &status.words.buffer, u64::from(word) * status.stride, 4));
        }
        let layout = &step.pipeline.layout;
        Ok(device.create_bind_group(&BindGroupDescriptor { label: None, layout, entries: &entries }))
    }

    /// Records what comes before the first step.
    pub fn encode_poison(&self, device: &wgpu::Device, memory: &Memory, pass: &mut wgpu::ComputePass<'_>) {
        let Some(fill) = &self.fill else { return };
        let most = device.limits().max_storage_buffer_binding_size / 256 * 256;
        pass.set_pipeline(&fill.pipeline);
        for (chunk, &bytes) in self.plan.arena.iter().enumerate() {
            let mut offset = 0;
            while offset < bytes {
                let length = most.min(bytes - offset);
                let group = device.create_bind_group(&BindGroupDescriptor {
                    label: None,
                    layout: &fill.layout,
                    entries: &[entry(0, &memory.chunk(chunk).buffer, offset, length)],
                });
                pass.set_bind_group(0, &group, &[]);
                pass.dispatch_workgroups(WALKERS, 1, 1);
                offset += length;
            }
        }
    }

    /// Records what comes after the last step.
    pub fn encode_status(&self, pass: &mut wgpu::ComputePass<'_>) {
        if let Some(status) = &self.status {
            pass.set_pipeline(&status.collect.pipeline);
            pass.set_bind_group(0, &status.group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
    }
}
