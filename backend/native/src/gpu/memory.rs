//! Buffers by handle, and the arena that all plans of a device share.

use std::collections::HashMap;

use wgpu::{Buffer, BufferDescriptor, BufferUsages};

use crate::error::{Error, Result};
use crate::{ensure, fail};

/// WebGPU copies and binds whole words.
const WORD: u64 = 4;

/// What every buffer that a kernel can see is for.
const USAGES: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// Bytes as they are allocated: whole words, at least one, since an empty range cannot be bound.
pub fn padded(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(WORD)
}

/// A buffer and the bytes that were asked for.
#[derive(Clone)]
pub struct Allocation {
    pub buffer: Buffer,
    pub bytes: u64,
}

pub struct Memory {
    device: wgpu::Device,
    buffers: HashMap<u64, Allocation>,
    next: u64,
    /// Chunks as large as the largest plan needs. They only grow; `generation` counts how often.
    arena: Vec<Allocation>,
    pub generation: u64,
    used: u64,
    peak: u64,
}

impl Memory {
    pub fn new(device: wgpu::Device) -> Self {
        Self { device, buffers: HashMap::new(), next: 1, arena: Vec::new(), generation: 0, used: 0, peak: 0 }
    }

    pub fn used(&self) -> u64 {
        self.used
    }

    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// A buffer of zeros that no handle names. Its bytes are counted until [`Self::forget`].
    pub fn create(&mut self, label: &str, bytes: u64) -> Result<Allocation> {
        let most = self.device.limits().max_buffer_size;
        // Far below where rounding up would overflow.
        let size = padded(bytes.min(1 << 62));
        ensure!(size <= most, "wgpu: a buffer of {bytes} bytes is more than the adapter allows ({most})");
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor = BufferDescriptor { label: Some(label), size, usage: USAGES, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        let invalid = pollster::block_on(validation.pop());
        if pollster::block_on(memory.pop()).is_some() {
            fail!("wgpu: out of memory: no room for {bytes} bytes beside the {} in use", self.used);
        }
        if let Some(error) = invalid {
            fail!("wgpu: a buffer of {bytes} bytes: {error}");
        }
        self.used += size;
        self.peak = self.peak.max(self.used);
        Ok(Allocation { buffer, bytes })
    }

    /// Gives a buffer's memory back as soon as submitted work is done with it.
    pub fn forget(&mut self, allocation: &Allocation) {
        allocation.buffer.destroy();
        self.used -= padded(allocation.bytes);
    }

    pub fn allocate(&mut self, bytes: u64) -> Result<u64> {
        let allocation = self.create("buffer", bytes)?;
        let handle = self.next;
        self.next += 1;
        self.buffers.insert(handle, allocation);
        Ok(handle)
    }

    pub fn free(&mut self, handle: u64) -> Result<()> {
        let allocation = self.buffers.remove(&handle).ok_or_else(|| Error(format!("there is no buffer {handle}")))?;
        self.forget(&allocation);
        Ok(())
    }

    pub fn get(&self, handle: u64) -> Result<&Allocation> {
        self.buffers.get(&handle).ok_or_else(|| Error(format!("there is no buffer {handle}")))
    }

    /// Makes every chunk at least as large as `sizes` say.
    pub fn grow_arena(&mut self, sizes: &[u64]) -> Result<()> {
        for (chunk, &bytes) in sizes.iter().enumerate() {
            if self.arena.get(chunk).is_some_and(|allocation| allocation.bytes >= bytes) {
                continue;
            }
            // The old chunk goes first, so that both need not fit at once: nothing in it outlives a run.
            if let Some(old) = self.arena.get(chunk).cloned() {
                self.forget(&old);
                let empty = self.create("arena", 0)?;
                self.arena[chunk] = empty;
            }
            self.generation += 1;
            let allocation = self.create("arena", bytes)?;
            match self.arena.get(chunk).cloned() {
                Some(empty) => {
                    self.forget(&empty);
                    self.arena[chunk] = allocation;
                }
                None => self.arena.push(allocation),
            }
        }
        Ok(())
    }

    pub fn chunk(&self, chunk: usize) -> &Allocation {
        &self.arena[chunk]
    }
}
