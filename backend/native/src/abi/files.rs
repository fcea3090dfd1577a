//! C functions for checkpoint files.
#![allow(clippy::missing_safety_doc, reason = "the contract is the parent module's, the same for all")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytemuck::Pod;

use super::device::device;
use super::{Table, bytes, bytes_mut, copy_out, guard, guard_length, lock, put, text};
use crate::error::Result;
use crate::io::Checkpoint;
use crate::io::changes::{Changes, Outline as ChangesOutline};
use crate::io::combine::{Combination, Term, inner_products};
use crate::io::writer::{Outline, Writer};
use crate::{ensure, fail};

static CHECKPOINTS: Table<Checkpoint> = Table::new("checkpoint");

/// A writer that is finished is gone: the place stays empty until the handle is closed.
static WRITERS: Table<Mutex<Option<Writer>>> = Table::new("safetensors writer");

/// The caller's numbers.
///
/// # Safety
/// `data` points to `count` readable, aligned T, or `count` is 0.
pub(super) unsafe fn numbers<'a, T: Pod>(data: *const T, count: usize) -> Result<&'a [T]> {
    // An empty slice of bytes has no alignment to rely on.
    if count == 0 {
        return Ok(&[]);
    }
    ensure!(data.is_aligned(), "{count} numbers are not aligned");
    // SAFETY: the caller's contract.
    Ok(bytemuck::cast_slice(unsafe { bytes(data.cast(), count.saturating_mul(size_of::<T>())) }?))
}

/// The caller's numbers, to be written.
///
/// # Safety
/// `data` points to `count` writable, aligned T which nobody else uses meanwhile, or `count` is 0.
pub(super) unsafe fn numbers_mut<'a, T: Pod>(data: *mut T, count: usize) -> Result<&'a mut [T]> {
    if count == 0 {
        return Ok(&mut []);
    }
    ensure!(data.is_aligned(), "the place for {count} numbers is not aligned");
    // SAFETY: the caller's contract.
    Ok(bytemuck::cast_slice_mut(unsafe { bytes_mut(data.cast(), count.saturating_mul(size_of::<T>())) }?))
}

/// Opens a checkpoint: safetensors (file or folder), GGUF, llama2.c.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_checkpoint_open(path: *const u8, length: usize, out: *mut u64) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let path = unsafe { text(path, length) }?;
        let handle = CHECKPOINTS.insert(Arc::new(Checkpoint::open(Path::new(path))?));
        // SAFETY: the caller's contract.
        unsafe { put(out, handle) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn xft_checkpoint_close(handle: u64) -> i32 {
    guard(|| CHECKPOINTS.remove(handle).map(drop))
}

/// Format, metadata and tensors, a JSON object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_checkpoint_describe(handle: u64, out: *mut u8, capacity: usize) -> i64 {
    guard_length(|| {
        let json = serde_json::to_vec(&CHECKPOINTS.get(handle)?.describe())?;
        // SAFETY: the caller's contract.
        unsafe { copy_out(&json, out, capacity) }
    })
}

/// Reads a tensor as f32; `out` has exactly the tensor's elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_checkpoint_read(
    handle: u64,
    name: *const u8,
    length: usize,
    out: *mut f32,
    elements: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let name = unsafe { text(name, length) }?;
        // SAFETY: the caller's contract.
        let out = unsafe { numbers_mut(out, elements) }?;
        CHECKPOINTS.get(handle)?.read(name, out)
    })
}

/// Reads a tensor's elements from `start` on as f32, as many as `out` has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_checkpoint_read_part(
    handle: u64,
    name: *const u8,
    length: usize,
    start: usize,
    out: *mut f32,
    elements: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let name = unsafe { text(name, length) }?;
        // SAFETY: the caller's contract.
        let out = unsafe { numbers_mut(out, elements) }?;
        CHECKPOINTS.get(handle)?.read_part(name, start, out)
    })
}

/// Writes a tensor as f32 to the start of a device's buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_checkpoint_upload(
    handle: u64,
    name: *const u8,
    length: usize,
    device_handle: u64,
    buffer: u64,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let name = unsafe { text(name, length) }?;
        let device = device(device_handle)?;
        CHECKPOINTS.get(handle)?.stream(name, |offset, bytes| device.write(buffer, offset, bytes))
    })
}

/// Begins a safetensors file at `path`; `outline` is JSON ([`Outline`]).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_writer_create(
    path: *const u8,
    path_length: usize,
    outline: *const u8,
    outline_length: usize,
    out: *mut u64,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let (path, outline) = unsafe { (text(path, path_length)?, bytes(outline, outline_length)?) };
        let outline: Outline = serde_json::from_slice(outline)?;
        let writer = Writer::create(Path::new(path), outline)?;
        let handle = WRITERS.insert(Arc::new(Mutex::new(Some(writer))));
        // SAFETY: the caller's contract.
        unsafe { put(out, handle) }
    })
}

/// Writes the next tensor of the outline.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_writer_add(handle: u64, values: *const f32, elements: usize) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let values = unsafe { numbers(values, elements) }?;
        let writer = WRITERS.get(handle)?;
        match lock(&writer).as_mut() {
            Some(writer) => writer.add(values),
            None => fail!("this safetensors file is already complete"),
        }
    })
}

/// Writes Σ weight · tensor as the next tensor of the outline: of each term the checkpoint, the weight, and the tensor's
/// name (`names` is a JSON list).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_writer_combine(
    handle: u64,
    checkpoints: *const u64,
    weights: *const f64,
    terms: usize,
    names: *const u8,
    names_length: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let (checkpoints, weights) = unsafe { (numbers(checkpoints, terms)?, numbers(weights, terms)?) };
        // SAFETY: the caller's contract.
        let names: Vec<String> = serde_json::from_slice(unsafe { bytes(names, names_length) }?)?;
        ensure!(names.len() == terms, "{terms} terms have {} names", names.len());
        let checkpoints = checkpoints.iter().map(|&each| CHECKPOINTS.get(each)).collect::<Result<Vec<_>>>()?;
        let terms = checkpoints.iter().zip(&names).zip(weights);
        let terms = terms.map(|((checkpoint, name), &weight)| Term::new(checkpoint, name, weight));
        let sum = Combination::new(terms.collect::<Result<_>>()?)?;
        let writer = WRITERS.get(handle)?;
        match lock(&writer).as_mut() {
            Some(writer) => writer.compute(&sum),
            None => fail!("this safetensors file is already complete"),
        }
    })
}

/// Writes a base's tensor with the changes of `models` models as the next tensor of the outline: the checkpoints are the
/// base's and the models', `outline` is JSON ([`ChangesOutline`]).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_writer_changes(
    handle: u64,
    checkpoints: *const u64,
    weights: *const f64,
    models: usize,
    scale: f64,
    outline: *const u8,
    outline_length: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let (checkpoints, weights) = unsafe { (numbers(checkpoints, models + 1)?, numbers(weights, models)?) };
        // SAFETY: the caller's contract.
        let outline: ChangesOutline = serde_json::from_slice(unsafe { bytes(outline, outline_length) }?)?;
        let checkpoints = checkpoints.iter().map(|&each| CHECKPOINTS.get(each)).collect::<Result<Vec<_>>>()?;
        let checkpoints: Vec<_> = checkpoints.iter().map(|each| &**each).collect();
        let changes = Changes::new(&checkpoints, weights, scale, &outline)?;
        let writer = WRITERS.get(handle)?;
        match lock(&writer).as_mut() {
            Some(writer) => writer.compute(&changes),
            None => fail!("this safetensors file is already complete"),
        }
    })
}

/// Σ a·b of every two of the tensors that have one name in `count` checkpoints, into count · count numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_checkpoint_products(
    checkpoints: *const u64,
    count: usize,
    name: *const u8,
    length: usize,
    out: *mut f64,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let (checkpoints, name) = unsafe { (numbers(checkpoints, count)?, text(name, length)?) };
        let checkpoints = checkpoints.iter().map(|&each| CHECKPOINTS.get(each)).collect::<Result<Vec<_>>>()?;
        let terms = checkpoints.iter().map(|each| Term::new(each, name, 1.0)).collect::<Result<Vec<_>>>()?;
        let products = inner_products(&terms)?;
        // SAFETY: the caller's contract.
        unsafe { numbers_mut(out, products.len()) }?.copy_from_slice(&products);
        Ok(())
    })
}

/// Makes the file durable and gives it its name.
#[unsafe(no_mangle)]
pub extern "C" fn xft_writer_finish(handle: u64) -> i32 {
    guard(|| match lock(&*WRITERS.get(handle)?).take() {
        Some(writer) => writer.finish(),
        None => fail!("this safetensors file is already complete"),
    })
}

/// Closes the writer. A file that was not finished is removed.
#[unsafe(no_mangle)]
pub extern "C" fn xft_writer_close(handle: u64) -> i32 {
    guard(|| WRITERS.remove(handle).map(drop))
}
