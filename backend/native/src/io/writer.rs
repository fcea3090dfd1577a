//! Writes safetensors: tensor by tensor into a temporary file beside the target, which takes the target's name when
//! it is complete and on the disk. Whatever fails, the target stays as it was and the temporary file goes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use half::{bf16, f16};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::combine::Computed;
use super::{CHUNK, Dtype, reason, safetensors};
use crate::error::{Error, Result};
use crate::{ensure, fail};

/// What will be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outline {
    /// F32, BF16 or F16, for all tensors.
    pub dtype: String,
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Names and shapes, in the order in which their elements will come.
    pub tensors: Vec<(String, Vec<usize>)>,
}

/// A file being written.
#[derive(Debug)]
pub struct Writer {
    target: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
    dtype: Dtype,
    tensors: Vec<(String, Vec<usize>)>,
    next: usize,
}

/// Makes temporary names of one process differ.
static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Writer {
    /// Creates the temporary file and writes the header.
    pub fn create(target: &Path, outline: Outline) -> Result<Self> {
        let dtype = match Dtype::from_safetensors(&outline.dtype) {
            Some(dtype @ (Dtype::F32 | Dtype::BF16 | Dtype::F16)) => dtype,
            _ => fail!("dtype {:?} cannot be written (F32, BF16 and F16 can)", outline.dtype),
        };
        let header = safetensors::format_header(&outline.tensors, dtype, &outline.metadata)?;
        let Some(name) = target.file_name() else { fail!("{}: this is no file name.", target.display()) };
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}-{}.part", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let temporary = target.with_file_name(part);
        let file = File::options().write(true).create_new(true).open(&temporary);
        let file = file.map_err(|error| Error(format!("{}: {}", target.display(), reason(&error))))?;
        let mut writer = Self {
            target: target.to_owned(),
            temporary,
            file: Some(BufWriter::with_capacity(1 << 20, file)),
            dtype,
            tensors: outline.tensors,
            next: 0,
        };
        writer.put(&header)?;
        Ok(writer)
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error(format!("{}: {} Nothing was left behind.", self.target.display(), reason(error)))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { fail!("{}: the file is already complete", self.target.display()) };
        file.write_all(bytes).map_err(|error| self.failed(&error))
    }

    /// The next tensor has this many elements, and is counted as written.
    fn begin(&mut self, elements: usize) -> Result<()> {
        let Some((name, shape)) = self.tensors.get(self.next) else {
            fail!("{}: all {} tensors are written already", self.target.display(), self.next);
        };
        let needed: usize = shape.iter().product();
        ensure!(
            elements == needed,
            "tensor \"{name}\" of shape {shape:?} needs {needed} elements, {elements} were given"
        );
        self.next += 1;
        Ok(())
    }

    /// Writes the next tensor.
    pub fn add(&mut self, values: &[f32]) -> Result<()> {
        self.begin(values.len())?;
        self.write(values)
    }

    /// Computes the next tensor and writes it. What is computed is written while the next part is.
    pub fn compute(&mut self, tensor: &impl Computed) -> Result<()> {
        let elements = tensor.elements();
        self.begin(elements)?;
        let (mut ready, mut next) = (Vec::new(), Vec::new());
        for start in (0..elements.next_multiple_of(CHUNK) + CHUNK).step_by(CHUNK) {
            next.resize(CHUNK.min(elements.saturating_sub(start)), 0.0);
            let (written, computed) = rayon::join(|| self.write(&ready), || tensor.compute(start, &mut next));
            written.and(computed)?;
            std::mem::swap(&mut ready, &mut next);
        }
        Ok(())
    }

    fn write(&mut self, values: &[f32]) -> Result<()> {
        let mut bytes = Vec::new();
        for chunk in values.chunks(1 << 18) {
            match self.dtype {
                Dtype::BF16 => extend(&mut bytes, chunk, |value| bf16::from_f32(value).to_le_bytes()),
                Dtype::F16 => extend(&mut bytes, chunk, |value| f16::from_f32(value).to_le_bytes()),
                _ if cfg!(target_endian = "little") => {
                    self.put(bytemuck::cast_slice(chunk))?;
                    continue;
                }
                _ => extend(&mut bytes, chunk, f32::to_le_bytes),
            }
            self.put(&bytes)?;
            bytes.clear();
        }
        Ok(())
    }

    /// Makes the file durable and gives it its name.
    pub fn finish(mut self) -> Result<()> {
        ensure!(
            self.next == self.tensors.len(),
            "{}: only {} of {} tensors were written",
            self.target.display(),
            self.next,
            self.tensors.len()
        );
        let Some(file) = self.file.take() else { fail!("{}: the file is already complete", self.target.display()) };
        let result = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.temporary, &self.target));
        result.map_err(|error| self.failed(&error))?;
        sync_folder(&self.target);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After a rename there is no such file any more; in every other case it must go.
        drop(self.file.take());
        let _ = std::fs::remove_file(&self.temporary);
    }
}

fn extend<const N: usize>(bytes: &mut Vec<u8>, values: &[f32], convert: impl Fn(f32) -> [u8; N]) {
    bytes.extend(values.iter().flat_map(|&value| convert(value)));
}

/// Makes the new name durable too, where folders can be synced (not on Windows).
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}
