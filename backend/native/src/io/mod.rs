//! Checkpoints on disk, and tokenizers.
//!
//! [`Checkpoint::open`] reads safetensors (a file, or a folder with or without an index), GGUF and llama2.c files
//! alike: a list of tensors, metadata, and each tensor as f32. Files are mapped, not loaded. Everything that comes
//! from a file is checked before it is used: no header can make a reader overflow, allocate without measure or look
//! outside its file.

pub mod changes;
pub mod combine;
pub mod dequantise;
pub mod dtype;
pub mod gguf;
pub mod llama2c;
pub mod safetensors;
pub mod tokenizer;
pub mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};
use rayon::prelude::*;
use serde_json::Value;

pub use dtype::Dtype;

use crate::error::{Error, Result};
use crate::{ensure, fail};

/// Elements converted at a time where a tensor goes to a device: 4 MiB of f32.
const CHUNK: usize = 1 << 20;

/// Elements that one thread converts in a piece.
const PIECE: usize = 1 << 16;

/// One tensor: what it is and where its bytes lie.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    /// Which of the checkpoint's files.
    pub file: usize,
    /// Where its bytes begin in that file.
    pub offset: usize,
    pub bytes: usize,
}

impl Tensor {
    /// Checks sizes and place once: everything later relies on it.
    fn new(name: String, shape: Vec<usize>, dtype: Dtype, file: usize, offset: usize, source: &Source) -> Result<Self> {
        let Some(bytes) = dtype.bytes(&shape) else {
            fail!("{source}: tensor \"{name}\" has the impossible shape {shape:?} for {}.", dtype.name());
        };
        match offset.checked_add(bytes) {
            Some(end) if end <= source.map.len() => Ok(Self { name, shape, dtype, file, offset, bytes }),
            Some(end) => Err(source.truncated(&name, end)),
            None => fail!("{source}: tensor \"{name}\" lies at the impossible offset {offset}."),
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        // Cannot overflow: `Tensor::new` has multiplied it already.
        self.shape.iter().product()
    }
}

/// A mapped file.
pub struct Source {
    pub path: PathBuf,
    pub map: Mmap,
}

impl std::fmt::Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.display().fmt(formatter)
    }
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| Error(format!("{}: {}", path.display(), reason(&error)));
        let file = File::open(path).map_err(failed)?;
        ensure!(file.metadata().map_err(failed)?.is_file(), "{}: this is no file.", path.display());
        // SAFETY: the mapping is private and read-only, so nobody's writes through it are seen. Another process that
        // changes the file changes values, not lengths; one that cuts it short while we read ends this process with
        // a bus error, which is what memory-mapping costs. Our own writer never changes a file in place.
        let map = unsafe { MmapOptions::new().map_copy_read_only(&file) }.map_err(failed)?;
        Ok(Self { path: path.to_owned(), map })
    }

    fn truncated(&self, name: &str, end: usize) -> Error {
        Error(format!(
            "{self}: tensor \"{name}\" ends at byte {end}, the file has {}: it is cut short. Download it again.",
            self.map.len()
        ))
    }
}

/// The system's reason without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder.".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied.".to_owned(),
        std::io::ErrorKind::StorageFull => "no space left on the disk.".to_owned(),
        _ => {
            let text = error.to_string();
            format!("{}.", text.split(" (os error").next().unwrap_or(&text).to_lowercase())
        }
    }
}

/// Why pickles are refused, and the way round.
const PICKLE: &str = "this is a PyTorch pickle, and reading one runs whatever program is in it. Where you trust it, \
    save it as safetensors with transformers: from_pretrained(…).save_pretrained(…, safe_serialization=True).";

/// An opened checkpoint.
pub struct Checkpoint {
    pub format: &'static str,
    /// What the file says about itself; an object.
    pub metadata: Value,
    pub tensors: Vec<Tensor>,
    sources: Vec<Source>,
    by_name: HashMap<String, usize>,
}

impl Checkpoint {
    /// Opens a file or a folder, whatever its format is.
    pub fn open(path: &Path) -> Result<Self> {
        let found =
            std::fs::metadata(path).map_err(|error| Error(format!("{}: {}", path.display(), reason(&error))))?;
        if found.is_dir() {
            return safetensors::open_folder(path);
        }
        let source = Source::open(path)?;
        let head = source.map.get(..8).unwrap_or(&source.map);
        if head.starts_with(b"GGUF") {
            return gguf::open(source);
        }
        if path.extension().is_some_and(|extension| extension == "safetensors") || safetensors::looks_alike(&source) {
            return safetensors::open(source);
        }
        // torch.save makes an archive; before version 1.6 it wrote the pickle itself (protocol 2).
        ensure!(!head.starts_with(b"PK") && !head.starts_with(&[0x80, 2]), "{source}: {PICKLE}");
        ensure!(!head.starts_with(b"24ka"), "{source}: llama2.c files of version 1 and later are not supported.");
        if let Some(header) = llama2c::Header::parse(&source) {
            return llama2c::open(source, &header);
        }
        fail!("{source}: this is no checkpoint we know (safetensors, GGUF and llama2.c are), or it is cut short.")
    }

    fn new(format: &'static str, metadata: Value, tensors: Vec<Tensor>, sources: Vec<Source>) -> Result<Self> {
        let mut by_name = HashMap::with_capacity(tensors.len());
        for (index, tensor) in tensors.iter().enumerate() {
            if by_name.insert(tensor.name.clone(), index).is_some() {
                fail!("{}: tensor \"{}\" occurs twice.", sources[tensor.file], tensor.name);
            }
        }
        Ok(Self { format, metadata, tensors, sources, by_name })
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        let Some(&index) = self.by_name.get(name) else {
            let place = self.sources.first().map_or_else(String::new, |source| format!("{source}: "));
            fail!("{place}there is no tensor \"{name}\".");
        };
        Ok(&self.tensors[index])
    }

    /// The tensor's bytes as they lie in the file.
    pub fn raw(&self, tensor: &Tensor) -> &[u8] {
        // In range: `Tensor::new` has checked it against this file's length.
        &self.sources[tensor.file].map[tensor.offset..tensor.offset + tensor.bytes]
    }

    /// The tensor's elements where they lie, if they are what the processor takes: f32 at an address for f32.
    fn floats(&self, tensor: &Tensor) -> Option<&[f32]> {
        let as_stored = tensor.dtype == Dtype::F32 && cfg!(target_endian = "little");
        if as_stored { bytemuck::try_cast_slice(self.raw(tensor)).ok() } else { None }
    }

    /// Converts the tensor's elements from `start` on; `start` and the length are whole blocks of its dtype, or the
    /// length reaches the tensor's end.
    fn convert(&self, tensor: &Tensor, start: usize, out: &mut [f32]) -> Result<()> {
        let (block, size) = (tensor.dtype.block(), tensor.dtype.block_bytes());
        let raw = &self.raw(tensor)[start / block * size..];
        out.par_chunks_mut(PIECE)
            .zip(raw.par_chunks(PIECE / block * size))
            .try_for_each(|(out, raw)| dequantise::to_f32(tensor.dtype, &raw[..out.len() / block * size], out))
            .map_err(|error| Error(format!("{}: tensor \"{}\": {error}", self.sources[tensor.file], tensor.name)))
    }

    /// As `convert`, on this thread.
    fn convert_here(&self, tensor: &Tensor, start: usize, out: &mut [f32]) -> Result<()> {
        let (block, size) = (tensor.dtype.block(), tensor.dtype.block_bytes());
        let raw = &self.raw(tensor)[start / block * size..][..out.len() / block * size];
        dequantise::to_f32(tensor.dtype, raw, out)
            .map_err(|error| Error(format!("{}: tensor \"{}\": {error}", self.sources[tensor.file], tensor.name)))
    }

    /// Gives the memory of a tensor's elements from `start` on back to the system, as far as it holds whole pages: they
    /// come from the file again when they are asked for. Mapped pages count as this process' memory.
    fn release(&self, tensor: &Tensor, start: usize, elements: usize) {
        #[cfg(unix)]
        {
            let (block, size) = (tensor.dtype.block(), tensor.dtype.block_bytes());
            let (offset, bytes) = (tensor.offset + start / block * size, elements / block * size);
            let map = &self.sources[tensor.file].map;
            // SAFETY: the range lies in the map, as `start` and `elements` lie in the tensor. The map is private, shared
            // with nobody for writing and never written to, so all that is dropped is what the file still holds.
            let done = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes) };
            // It is advice: a system that does not take it keeps the pages as long as it likes.
            drop(done);
        }
    }

    /// The whole tensor as f32. Its pages are given back: who loads a model holds it once, not twice.
    pub fn read(&self, name: &str, out: &mut [f32]) -> Result<()> {
        let elements = self.tensor(name)?.elements();
        ensure!(out.len() == elements, "tensor \"{name}\" has {elements} elements, not {}", out.len());
        self.read_part(name, 0, out)
    }

    /// As many elements of a tensor from `start` on as `out` has: whole blocks of its dtype.
    pub fn read_part(&self, name: &str, start: usize, out: &mut [f32]) -> Result<()> {
        let tensor = self.tensor(name)?;
        let (elements, block, count) = (tensor.elements(), tensor.dtype.block(), out.len());
        ensure!(
            start.checked_add(count).is_some_and(|end| end <= elements),
            "tensor \"{name}\" has {elements} elements, not {count} from {start} on"
        );
        ensure!(
            start.is_multiple_of(block) && count.is_multiple_of(block),
            "tensor \"{name}\" is stored in blocks of {block} elements: {count} from {start} on are no whole ones"
        );
        self.convert(tensor, start, out)?;
        self.release(tensor, start, count);
        Ok(())
    }

    /// The whole tensor as f32, chunk by chunk: `each` gets the byte offset in the f32 tensor and the bytes.
    pub fn stream(&self, name: &str, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let tensor = self.tensor(name)?;
        if tensor.dtype == Dtype::F32 && cfg!(target_endian = "little") {
            for (index, bytes) in self.raw(tensor).chunks(CHUNK * 4).enumerate() {
                each((index * CHUNK * 4) as u64, bytes)?;
            }
            return Ok(());
        }
        let elements = tensor.elements();
        let mut scratch = vec![0f32; elements.min(CHUNK)];
        for start in (0..elements).step_by(CHUNK) {
            let out = &mut scratch[..CHUNK.min(elements - start)];
            self.convert(tensor, start, out)?;
            each(start as u64 * 4, bytemuck::cast_slice(out))?;
        }
        Ok(())
    }

    /// Format, metadata and list of tensors, for TypeScript.
    pub fn describe(&self) -> Value {
        let tensors: Vec<Value> = self
            .tensors
            .iter()
            .map(|tensor| {
                serde_json::json!({
                    "name": tensor.name,
                    "shape": tensor.shape,
                    "dtype": tensor.dtype.name(),
                    "bytes": tensor.bytes,
                })
            })
            .collect();
        serde_json::json!({ "format": self.format, "metadata": self.metadata, "tensors": tensors })
    }
}

#[cfg(test)]
mod tests;
