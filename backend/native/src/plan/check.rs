//! Validation of a plan: what a device may rely on without looking again.

use super::extent::{self, Range};
use super::instruction::{Access, Instruction, RegisterType};
use super::kernel::{
    ContractKernel, GroupedIntoKernel, GroupedKernel, Kernel, OperandTypes, OrderKernel, ScatterKernel, Then,
    TopkKernel,
};
use super::{ALIGNMENT, Plan, PlanBuffer, VERSION, check_loop};
use crate::ensure;
use crate::error::{Error, Result};

/// What a kernel does with one of its slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Binding {
    /// Bytes that the buffer must have.
    pub bytes: u64,
    pub read: bool,
    pub written: bool,
}

/// What validation found out.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Per kernel, its slots. Empty for shaders.
    pub bindings: Vec<Vec<Binding>>,
    /// Per argument: is it written? (Shaders excepted: all that they bind counts as written.)
    pub written: Vec<bool>,
}

/// Gathers a kernel's bindings.
#[derive(Default)]
pub struct Bindings(Vec<Binding>);

impl Bindings {
    /// Elements `range` of `slot`, of `size` bytes each.
    pub fn touch(&mut self, slot: usize, size: u64, range: Range, written: bool) -> Result<()> {
        ensure!(slot < 64, "slot {slot} is beyond 64");
        if self.0.len() <= slot {
            self.0.resize(slot + 1, Binding::default());
        }
        let binding = &mut self.0[slot];
        binding.read |= !written;
        binding.written |= written;
        if let Some((low, high)) = range {
            ensure!(low >= 0, "an access to slot {slot} reaches down to element {low}");
            let bytes = (high + 1).saturating_mul(size.into());
            let bytes = u64::try_from(bytes).map_err(|_| Error(format!("slot {slot} is too large")))?;
            binding.bytes = binding.bytes.max(bytes);
        }
        Ok(())
    }

    fn join(&mut self, slot: usize, more: Binding) {
        if self.0.len() <= slot {
            self.0.resize(slot + 1, Binding::default());
        }
        let Binding { bytes, read, written } = self.0[slot];
        let bytes = bytes.max(more.bytes);
        self.0[slot] = Binding { bytes, read: read | more.read, written: written | more.written };
    }

    fn read(&mut self, slot: usize, range: Range) -> Result<()> {
        self.touch(slot, 4, range, false)
    }

    fn write(&mut self, slot: usize, range: Range) -> Result<()> {
        self.touch(slot, 4, range, true)
    }
}

fn check_sizes(sizes: impl IntoIterator<Item = i64>) -> Result<()> {
    let mut product: i128 = 1;
    for size in sizes {
        ensure!(size >= 0, "a size is negative ({size})");
        product = product.saturating_mul(i128::from(size).max(1));
    }
    ensure!(product < 1 << 50, "{product} iterations are too many");
    Ok(())
}

fn check_index(what: &str, value: i64) -> Result<()> {
    ensure!((0..i64::from(i32::MAX)).contains(&value), "{value} {what} do not fit an i32 index");
    Ok(())
}

fn check_output(axes: impl IntoIterator<Item = (i64, i64)>) -> Result<()> {
    ensure!(extent::is_injective(axes), "two indices write the same element");
    Ok(())
}

fn contract(kernel: &ContractKernel, bindings: &mut Bindings) -> Result<()> {
    let ContractKernel { batch, m, n, k, offsets, accumulate, types, then } = kernel;
    ensure!(!k.is_empty(), "k has no axis");
    let sizes = batch.iter().map(|axis| axis.size).chain([m.size, n.size]).chain(k.iter().map(|axis| axis.size));
    check_sizes(sizes)?;
    let output = || batch.iter().map(|axis| (axis.size, axis.c)).chain([(m.size, m.c), (n.size, n.c)]);
    check_output(output())?;
    let rows = batch.iter().map(|axis| (axis.size, axis.c)).chain([(m.size, m.c)]);
    let result = Target { rows: rows.collect(), columns: (n.size, n.c), offset: offsets.c };
    let c = then.as_ref().map_or(Ok(Some(2)), |then| check_then(then, &result, 2, bindings))?;
    ensure!(c.is_some() || !accumulate, "a product that lies nowhere cannot add to what is there");
    if let Some(c) = c {
        bindings.write(c, extent::of_axes(offsets.c, output()))?;
        if *accumulate {
            bindings.read(c, extent::of_axes(offsets.c, output()))?;
        }
    }
    let a = batch.iter().map(|axis| (axis.size, axis.a)).chain([(m.size, m.a), (n.size, 0)]);
    let a = extent::of_axes(offsets.a, a.chain(k.iter().map(|axis| (axis.size, axis.a))));
    let b = batch.iter().map(|axis| (axis.size, axis.b)).chain([(m.size, 0), (n.size, n.b)]);
    let b = extent::of_axes(offsets.b, b.chain(k.iter().map(|axis| (axis.size, axis.b))));
    factors(types, bindings, [a, b])
}

/// The factors of a product, in slots 0 and 1.
fn factors(types: &OperandTypes, bindings: &mut Bindings, ranges: [Range; 2]) -> Result<()> {
    for (slot, (dtype, range)) in types.storage().into_iter().zip(ranges).enumerate() {
        ensure!(dtype.register() == RegisterType::F32, "a product of {dtype:?} elements in slot {slot}");
        bindings.touch(slot, dtype.bytes(), range, false)?;
    }
    Ok(())
}

/// Where a product's elements go.
struct Target {
    /// Sizes and strides of its rows, and of its columns.
    rows: Vec<(i64, i64)>,
    columns: (i64, i64),
    offset: i64,
}

/// Sizes and strides without axes of one element, neighbours that run on evenly being one.
fn joined(axes: impl IntoIterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (size, stride) in axes.into_iter().filter(|(size, _)| *size != 1) {
        match joined.last_mut() {
            Some(last) if last.1 == stride * size => *last = (last.0 * size, stride),
            _ => joined.push((size, stride)),
        }
    }
    joined
}

/// Does the loop touch the product only in the row it works on?
fn stays_in_row(access: &Access, sizes: &[i64], axes: usize, target: &Target) -> bool {
    let (rows, _) = access.affine.strides.split_at(axes);
    let guards = access.guards.iter().all(|guard| guard.affine.strides[..axes].iter().all(|&stride| stride == 0));
    let same = joined(sizes[..axes].iter().copied().zip(rows.iter().copied())) == joined(target.rows.iter().copied());
    let in_row: Vec<i64> = sizes.iter().enumerate().map(|(axis, &size)| if axis < axes { 1 } else { size }).collect();
    let columns = extent::of_axes(target.offset, [target.columns]);
    let inside = match (extent::of_access(access, &in_row), columns) {
        (Some((low, high)), Some((first, last))) => first <= low && high <= last,
        (touched, _) => touched.is_none(),
    };
    guards && same && inside && access.gather.is_none() && access.dtype.bytes() == 4
}

/// The loop behind a product, its slots from `first` on. Returns the product's slot, if it has memory.
fn check_then(then: &Then, target: &Target, first: usize, bindings: &mut Bindings) -> Result<Option<usize>> {
    let Then { body, axes, slot, stored } = then;
    let mut own = Bindings::default();
    check_loop::check(body, &mut own)?;
    ensure!(*axes <= body.outer, "the loop behind a product has {} rows' axes, not {axes}", body.outer);
    let count = |sizes: &mut dyn Iterator<Item = i64>| sizes.fold(1_i128, |count, size| count * i128::from(size));
    let rows = count(&mut target.rows.iter().map(|row| row.0));
    ensure!(rows == count(&mut body.sizes[..*axes].iter().copied()), "the loop behind a product has other rows");
    ensure!(
        *slot < own.0.len() && (*stored || slot + 1 == own.0.len()),
        "the loop behind a product has no slot {slot}"
    );
    let width = target.columns.0;
    let target = if *stored {
        target
    } else {
        let rows = i64::try_from(rows).map_err(|_| Error("too many rows".to_owned()))?;
        &Target { rows: vec![(rows, width)], columns: (width, 1), offset: 0 }
    };
    for instruction in &body.body {
        let Some(access) = instruction.access().filter(|access| access.slot == *slot) else { continue };
        ensure!(matches!(instruction, Instruction::Load { .. }), "the loop behind a product writes to it");
        ensure!(stays_in_row(access, &body.sizes, *axes, target), "the loop behind a product reads another row of it");
    }
    for (number, binding) in own.0.into_iter().enumerate().filter(|(number, _)| *stored || number != slot) {
        bindings.join(first + number, binding);
    }
    Ok(stored.then_some(first + slot))
}

/// The range of an `order` buffer: positions, then groups + 1 offsets.
fn order_range(positions: i64, groups: i64) -> Range {
    Some((0, i128::from(positions) + i128::from(groups)))
}

fn order(kernel: &OrderKernel, bindings: &mut Bindings) -> Result<()> {
    check_index("groups", kernel.groups)?;
    check_index("positions", kernel.positions)?;
    bindings.read(0, extent::of_axes(0, [(kernel.positions, 1)]))?;
    bindings.write(1, order_range(kernel.positions, kernel.groups))
}

/// Number of positions; it and `groups` fit an i32.
fn check_positions(groups: i64, sizes: impl Iterator<Item = i64> + Clone) -> Result<i64> {
    check_sizes(sizes.clone())?;
    let positions = sizes.product();
    check_index("groups", groups)?;
    check_index("positions", positions)?;
    Ok(positions)
}

fn grouped(kernel: &GroupedKernel, bindings: &mut Bindings) -> Result<()> {
    let GroupedKernel { groups, positions, k, n, group, offsets, types, then } = kernel;
    let count = check_positions(*groups, positions.iter().map(|axis| axis.size))?;
    check_sizes([count, k.size, n.size])?;
    let output = || positions.iter().map(|axis| (axis.size, axis.c)).chain([(n.size, n.c)]);
    check_output(output())?;
    let a = positions.iter().map(|axis| (axis.size, axis.a)).chain([(n.size, 0), (k.size, k.a)]);
    let b = [(count, 0), (*groups, *group), (k.size, k.b), (n.size, n.b)];
    factors(types, bindings, [extent::of_axes(offsets.a, a), extent::of_axes(offsets.b, b)])?;
    bindings.read(2, order_range(count, *groups))?;
    let rows = positions.iter().map(|axis| (axis.size, axis.c)).collect();
    let result = Target { rows, columns: (n.size, n.c), offset: offsets.c };
    let c = then.as_ref().map_or(Ok(Some(3)), |then| check_then(then, &result, 3, bindings))?;
    c.map_or(Ok(()), |c| bindings.write(c, extent::of_axes(offsets.c, output())))
}

fn grouped_into(kernel: &GroupedIntoKernel, bindings: &mut Bindings) -> Result<()> {
    let GroupedIntoKernel { groups, positions, m, n, group, offsets, types } = kernel;
    let count = check_positions(*groups, positions.iter().map(|axis| axis.size))?;
    check_sizes([count, m.size, n.size])?;
    let output = [(*groups, *group), (m.size, m.c), (n.size, n.c)];
    check_output(output)?;
    let a = positions.iter().map(|axis| (axis.size, axis.a)).chain([(m.size, m.a), (n.size, 0)]);
    let b = positions.iter().map(|axis| (axis.size, axis.b)).chain([(m.size, 0), (n.size, n.b)]);
    factors(types, bindings, [extent::of_axes(offsets.a, a), extent::of_axes(offsets.b, b)])?;
    bindings.read(2, order_range(count, *groups))?;
    bindings.write(3, extent::of_axes(offsets.c, output))
}

fn scatter(kernel: &ScatterKernel, bindings: &mut Bindings) -> Result<()> {
    let ScatterKernel { groups, positions, columns, group, offsets } = kernel;
    let count = check_positions(*groups, positions.iter().map(|axis| axis.size))?;
    check_sizes([count].into_iter().chain(columns.iter().map(|axis| axis.size)))?;
    check_sizes([*groups].into_iter().chain(columns.iter().map(|axis| axis.size)))?;
    let output = || [(*groups, *group)].into_iter().chain(columns.iter().map(|axis| (axis.size, axis.c)));
    check_output(output())?;
    let b = positions.iter().map(|axis| (axis.size, axis.b)).chain(columns.iter().map(|axis| (axis.size, axis.b)));
    bindings.read(0, extent::of_axes(offsets.b, b))?;
    bindings.read(1, extent::of_axes(0, [(count, 1)]))?;
    bindings.write(2, extent::of_axes(offsets.c, output()))
}

fn topk(kernel: &TopkKernel, bindings: &mut Bindings) -> Result<()> {
    let TopkKernel { rows, axis, slots, offsets } = kernel;
    check_sizes(rows.iter().map(|row| row.size).chain([axis.size, slots.size]))?;
    check_index("elements", axis.size)?;
    ensure!(slots.size <= axis.size, "the {} largest of {} elements", slots.size, axis.size);
    let output = || rows.iter().map(|row| (row.size, row.c)).chain([(slots.size, slots.c)]);
    check_output(output())?;
    bindings
        .read(0, extent::of_axes(offsets.a, rows.iter().map(|row| (row.size, row.a)).chain([(axis.size, axis.a)])))?;
    bindings.write(1, extent::of_axes(offsets.c, output()))
}

impl Kernel {
    /// What the kernel does with its slots. An error if it makes no sense.
    pub fn bindings(&self) -> Result<Vec<Binding>> {
        let mut bindings = Bindings::default();
        match self {
            Self::Loop(kernel) => check_loop::check(kernel, &mut bindings)?,
            Self::Contract(kernel) => contract(kernel, &mut bindings)?,
            Self::Order(kernel) => order(kernel, &mut bindings)?,
            Self::Grouped(kernel) => grouped(kernel, &mut bindings)?,
            Self::GroupedInto(kernel) => grouped_into(kernel, &mut bindings)?,
            Self::Scatter(kernel) => scatter(kernel, &mut bindings)?,
            Self::Topk(kernel) => topk(kernel, &mut bindings)?,
            Self::Copy(kernel) => {
                check_sizes([kernel.words])?;
                bindings.read(0, extent::of_axes(0, [(kernel.words, 1)]))?;
                bindings.write(1, extent::of_axes(0, [(kernel.words, 1)]))?;
            }
            Self::Wgsl(_) => {}
        }
        Ok(bindings.0)
    }
}

impl PlanBuffer {
    /// Which memory it is in, and where there.
    fn place(&self) -> ((u8, usize), std::ops::Range<u64>) {
        match *self {
            Self::Argument { index, offset, bytes } => ((0, index), offset..offset + bytes),
            Self::Arena { chunk, offset, bytes } => ((1, chunk), offset..offset + bytes),
            Self::Upload { offset, bytes } => ((2, 0), offset..offset + bytes),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let ((memory, mine), (other_memory, theirs)) = (self.place(), other.place());
        memory == other_memory && mine.start < theirs.end && theirs.start < mine.end
    }
}

impl Plan {
    fn check_buffer(&self, buffer: &PlanBuffer) -> Result<()> {
        let within = |offset: u64, bytes: u64, total: u64| offset.checked_add(bytes).is_some_and(|end| end <= total);
        match *buffer {
            PlanBuffer::Argument { index, offset, bytes } => {
                let Some(argument) = self.arguments.get(index) else { crate::fail!("there is no argument {index}") };
                let total = argument.bytes;
                ensure!(offset % ALIGNMENT == 0, "offset {offset} is not a multiple of {ALIGNMENT}");
                ensure!(
                    within(offset, bytes, total),
                    "{bytes} bytes at {offset} of argument {index}, which has {total}"
                );
            }
            PlanBuffer::Arena { chunk, offset, bytes } => {
                let Some(&total) = self.arena.get(chunk) else { crate::fail!("there is no arena chunk {chunk}") };
                ensure!(offset % ALIGNMENT == 0, "offset {offset} is not a multiple of {ALIGNMENT}");
                ensure!(within(offset, bytes, total), "{bytes} bytes at {offset} of chunk {chunk}, which has {total}");
            }
            PlanBuffer::Upload { offset, bytes } => {
                ensure!(offset % ALIGNMENT == 0, "offset {offset} is not a multiple of {ALIGNMENT}");
                ensure!(within(offset, bytes, self.upload), "{bytes} bytes at {offset} of {} uploaded", self.upload);
            }
        }
        Ok(())
    }

    fn check_step(&self, step: usize, bindings: &[Vec<Binding>], written: &mut [bool]) -> Result<()> {
        let step = &self.steps[step];
        let Some(kernel) = self.kernels.get(step.kernel) else { crate::fail!("there is no kernel {}", step.kernel) };
        let slots = &bindings[step.kernel];
        ensure!(
            slots.len() <= step.buffers.len(),
            "kernel {} has {} slots, the step has {} buffers",
            step.kernel,
            slots.len(),
            step.buffers.len()
        );
        for (slot, &number) in step.buffers.iter().enumerate() {
            let Some(buffer) = self.buffers.get(number) else { crate::fail!("there is no buffer {number}") };
            let any = Binding { bytes: 0, read: true, written: matches!(kernel, Kernel::Wgsl(_)) };
            let binding = slots.get(slot).copied().unwrap_or(any);
            ensure!(
                binding.bytes <= buffer.bytes(),
                "kernel {} reaches byte {} of slot {slot}, buffer {number} has {}",
                step.kernel,
                binding.bytes,
                buffer.bytes()
            );
            match *buffer {
                PlanBuffer::Upload { .. } if binding.written && !matches!(kernel, Kernel::Wgsl(_)) => {
                    crate::fail!("slot {slot} writes to the upload");
                }
                PlanBuffer::Argument { index, .. } => written[index] |= binding.written,
                _ => {}
            }
            if !binding.written || matches!(kernel, Kernel::Loop(_) | Kernel::Wgsl(_)) {
                continue;
            }
            // A loop behind a product may write in place, as loops may; what the product reads stays as it is.
            let shared = match kernel {
                Kernel::Contract(ContractKernel { then: Some(_), .. }) => 2,
                Kernel::Grouped(GroupedKernel { then: Some(_), .. }) => 3,
                _ => step.buffers.len(),
            };
            for (other, &neighbour) in step.buffers.iter().enumerate().take(shared) {
                ensure!(
                    other == slot || !self.buffers[neighbour.min(self.buffers.len() - 1)].overlaps(buffer),
                    "slot {slot} of kernel {} is written and overlaps slot {other}",
                    step.kernel
                );
            }
        }
        Ok(())
    }

    /// Proves that every kernel of every step stays inside its buffers, or says what does not.
    pub fn validate(&self) -> Result<Checked> {
        ensure!(self.version == VERSION, "plan: version {}, this library runs version {VERSION}", self.version);
        let at = |what: &str, number: usize| {
            let what = format!("plan: {what} {number}: ");
            move |error: Error| Error(what + &error.0)
        };
        for (number, buffer) in self.buffers.iter().enumerate() {
            self.check_buffer(buffer).map_err(at("buffer", number))?;
        }
        let mut bindings = Vec::with_capacity(self.kernels.len());
        for (number, kernel) in self.kernels.iter().enumerate() {
            bindings.push(kernel.bindings().map_err(at("kernel", number))?);
        }
        let mut written = vec![false; self.arguments.len()];
        for number in 0..self.steps.len() {
            self.check_step(number, &bindings, &mut written).map_err(at("step", number))?;
        }
        Ok(Checked { bindings, written })
    }
}
