//! C functions for devices, their memory and their plans.
#![allow(clippy::missing_safety_doc, reason = "the contract is the parent module's, the same for all")]

use std::sync::Arc;

use super::{Table, bytes, bytes_mut, copy_out, guard, guard_length, put, text};
use crate::device::Device;
use crate::error::Result;
use crate::plan::Plan;
use crate::{cpu, ensure, fail, gpu};

static DEVICES: Table<dyn Device> = Table::new("device");

/// The device behind a handle, for the other modules of C functions.
pub(crate) fn device(handle: u64) -> Result<Arc<dyn Device>> {
    DEVICES.get(handle)
}

fn open(name: &str) -> Result<Arc<dyn Device>> {
    match name.split_once(':') {
        None if name == "cpu" => cpu::open(),
        None if name == "wgpu" => gpu::open(None),
        Some(("wgpu", adapter)) => gpu::open(Some(adapter)),
        _ => fail!("device \"{name}\": expected \"cpu\", \"wgpu\" or \"wgpu:NAME\""),
    }
}

/// Opens "cpu", "wgpu" or "wgpu:NAME".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_device_open(name: *const u8, length: usize, out: *mut u64) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let name = unsafe { text(name, length) }?;
        let handle = DEVICES.insert(open(name)?);
        // SAFETY: the caller's contract.
        unsafe { put(out, handle) }
    })
}

/// All adapters that `xft_device_open` could open, a JSON array.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_adapters(out: *mut u8, capacity: usize) -> i64 {
    guard_length(|| {
        let json = serde_json::to_vec(&gpu::adapters())?;
        // SAFETY: the caller's contract.
        unsafe { copy_out(&json, out, capacity) }
    })
}

/// The device's capabilities, a JSON object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_device_info(handle: u64, out: *mut u8, capacity: usize) -> i64 {
    guard_length(|| {
        let json = serde_json::to_vec(&device(handle)?.info())?;
        // SAFETY: the caller's contract.
        unsafe { copy_out(&json, out, capacity) }
    })
}

/// Closes the device. Its memory is given back when the last call on it has ended.
#[unsafe(no_mangle)]
pub extern "C" fn xft_device_close(handle: u64) -> i32 {
    guard(|| DEVICES.remove(handle).map(drop))
}

/// A new buffer of zeros.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_buffer_allocate(handle: u64, bytes: u64, out: *mut u64) -> i32 {
    guard(|| {
        let buffer = device(handle)?.allocate(bytes)?;
        // SAFETY: the caller's contract.
        unsafe { put(out, buffer) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn xft_buffer_free(handle: u64, buffer: u64) -> i32 {
    guard(|| device(handle)?.free(buffer))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_buffer_write(
    handle: u64,
    buffer: u64,
    offset: u64,
    data: *const u8,
    length: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        device(handle)?.write(buffer, offset, unsafe { bytes(data, length) }?)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_buffer_read(handle: u64, buffer: u64, offset: u64, into: *mut u8, length: usize) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        device(handle)?.read(buffer, offset, unsafe { bytes_mut(into, length) }?)
    })
}

/// Loads a plan (JSON, `Plan` of `backend/compiler/kernel.ts`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_plan_load(handle: u64, json: *const u8, length: usize, out: *mut u64) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let plan = Plan::parse(unsafe { bytes(json, length) }?)?;
        let loaded = device(handle)?.load(plan)?;
        // SAFETY: the caller's contract.
        unsafe { put(out, loaded) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn xft_plan_unload(handle: u64, plan: u64) -> i32 {
    guard(|| device(handle)?.unload(plan))
}

/// Runs a step. `arguments` are `count` buffer handles; new ones are written back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_plan_run(
    handle: u64,
    plan: u64,
    arguments: *mut u64,
    count: usize,
    upload: *const u8,
    length: usize,
) -> i32 {
    guard(|| {
        ensure!(arguments.is_aligned(), "the arguments' handles are not aligned");
        let size = count.saturating_mul(size_of::<u64>());
        // SAFETY: the caller's contract: `count` handles.
        let arguments = unsafe { bytes_mut(arguments.cast(), size) }?;
        // An empty slice of bytes lies nowhere in particular: it cannot be cast.
        let arguments = if count == 0 { &mut [] } else { bytemuck::cast_slice_mut(arguments) };
        // SAFETY: the caller's contract.
        device(handle)?.run(plan, arguments, unsafe { bytes(upload, length) }?)
    })
}

/// Ends the device's run in progress, if there is one, and refuses later ones: their calls fail.
#[unsafe(no_mangle)]
pub extern "C" fn xft_device_cancel(handle: u64) -> i32 {
    guard(|| {
        device(handle)?.cancel();
        Ok(())
    })
}

/// Nanoseconds of each step in all runs so far, as u64 numbers; none where the device does not measure them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_plan_profile(handle: u64, plan: u64, out: *mut u8, capacity: usize) -> i64 {
    guard_length(|| {
        let nanoseconds = device(handle)?.profile(plan)?;
        // SAFETY: the caller's contract.
        unsafe { copy_out(bytemuck::cast_slice(&nanoseconds), out, capacity) }
    })
}

/// Reads and clears the device's status word.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_device_status(handle: u64, out: *mut u32) -> i32 {
    guard(|| {
        let status = device(handle)?.status()?;
        // SAFETY: the caller's contract.
        unsafe { put(out, status) }
    })
}
