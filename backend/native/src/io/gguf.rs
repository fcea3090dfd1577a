//! GGUF, versions 2 and 3, little-endian: metadata as typed keys, a list of tensors, then their blocks.

use serde_json::{Map, Number, Value};

use super::{Checkpoint, Dtype, Source, Tensor};
use crate::error::{Error, Result};
use crate::{ensure, fail};

/// Values in the metadata's arrays, altogether, at most: a value takes 32 times its file's byte in memory.
const MOST_VALUES: usize = 1 << 24;

/// Depth of arrays in arrays.
const DEEPEST: usize = 4;

/// Most axes of a tensor in ggml.
const MOST_AXES: u32 = 4;

/// Reads a file's bytes in order and never beyond their end.
struct Cursor<'a> {
    source: &'a Source,
    at: usize,
    values: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length);
        let Some(bytes) = end.and_then(|end| self.source.map.get(self.at..end)) else {
            fail!(
                "{}: the header goes on after byte {}, where the file ends: it is cut short. Download it again.",
                self.source,
                self.source.map.len()
            );
        };
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A u64 that counts something in this file: more than its bytes cannot be.
    fn count(&mut self, what: &str, least_bytes: usize) -> Result<usize> {
        let count = u64::from_le_bytes(self.array()?);
        let room = (self.source.map.len() - self.at) / least_bytes;
        match usize::try_from(count) {
            Ok(count) if count <= room => Ok(count),
            _ => fail!(
                "{}: the header asks for {count} {what}, the file has room for {room}: it is cut short or damaged.",
                self.source
            ),
        }
    }

    fn string(&mut self) -> Result<String> {
        let length = self.count("bytes of text", 1)?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value> {
        self.values += 1;
        Ok(match kind {
            0 => Value::from(self.array::<1>()?[0]),
            1 => Value::from(i8::from_le_bytes(self.array()?)),
            2 => Value::from(u16::from_le_bytes(self.array()?)),
            3 => Value::from(i16::from_le_bytes(self.array()?)),
            4 => Value::from(self.u32()?),
            5 => Value::from(i32::from_le_bytes(self.array()?)),
            6 => short(f32::from_le_bytes(self.array()?)),
            7 => Value::from(self.array::<1>()?[0] != 0),
            8 => Value::from(self.string()?),
            9 => {
                let kind = self.u32()?;
                let count = self.count("values", least_bytes(kind))?;
                ensure!(
                    depth < DEEPEST && self.values + count <= MOST_VALUES,
                    "{}: the metadata is too large or too deep.",
                    self.source
                );
                (0..count).map(|_| self.value(kind, depth + 1)).collect::<Result<Vec<_>>>()?.into()
            }
            10 => Value::from(u64::from_le_bytes(self.array()?)),
            11 => Value::from(i64::from_le_bytes(self.array()?)),
            12 => Number::from_f64(f64::from_le_bytes(self.array()?)).map_or(Value::Null, Value::Number),
            _ => fail!("{}: metadata of the unknown type {kind}: the file is damaged.", self.source),
        })
    }
}

/// Bytes that a metadata value takes at least.
fn least_bytes(kind: u32) -> usize {
    match kind {
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        _ => 1,
    }
}

/// The shortest decimal that is this f32: 1e-5, not 9.999999747378752e-6.
fn short(value: f32) -> Value {
    value.to_string().parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// Opens a file.
pub fn open(source: Source) -> Result<Checkpoint> {
    let mut cursor = Cursor { source: &source, at: 4, values: 0 };
    let version = cursor.u32()?;
    ensure!(version <= u32::from(u16::MAX), "{source}: this GGUF file is big-endian, which is not supported.");
    ensure!((2..=3).contains(&version), "{source}: GGUF version {version} is not supported (2 and 3 are).");
    let tensor_count = cursor.count("tensors", 24)?;
    let pairs = cursor.count("metadata entries", 13)?;
    let mut metadata = Map::new();
    for _ in 0..pairs {
        let key = cursor.string()?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, 0)?;
        ensure!(metadata.insert(key.clone(), value).is_none(), "{source}: the metadata has \"{key}\" twice.");
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(value) => value
            .as_u64()
            .and_then(|value| usize::try_from(value).ok())
            .filter(|value| value.is_power_of_two() && *value <= 1 << 20)
            .ok_or_else(|| Error(format!("{source}: general.alignment {value} is no power of two.")))?,
    };
    let listed = (0..tensor_count).map(|_| tensor(&mut cursor)).collect::<Result<Vec<_>>>()?;
    let data = cursor.at.next_multiple_of(alignment);
    let mut tensors = Vec::with_capacity(listed.len());
    for (name, shape, dtype, offset) in listed {
        let Some(offset) = usize::try_from(offset).ok().and_then(|offset| data.checked_add(offset)) else {
            fail!("{source}: tensor \"{name}\" lies at the impossible offset {offset}.");
        };
        ensure!(offset.is_multiple_of(alignment), "{source}: tensor \"{name}\" is not aligned: the file is damaged.");
        tensors.push(Tensor::new(name, shape, dtype, 0, offset, &source)?);
    }
    check_overlap(&tensors, &source)?;
    Checkpoint::new("gguf", Value::Object(metadata), tensors, vec![source])
}

/// One entry of the tensors' list: name, shape (outermost first), dtype, offset in the data.
fn tensor(cursor: &mut Cursor<'_>) -> Result<(String, Vec<usize>, Dtype, u64)> {
    let name = cursor.string()?;
    let axes = cursor.u32()?;
    ensure!(
        axes <= MOST_AXES,
        "{}: tensor \"{name}\" has {axes} axes ({MOST_AXES} at most): the file is damaged.",
        cursor.source
    );
    let mut shape = Vec::new();
    for _ in 0..axes {
        let size = u64::from_le_bytes(cursor.array()?);
        let Ok(size) = usize::try_from(size) else {
            fail!("{}: tensor \"{name}\" has an axis of {size}: the file is damaged.", cursor.source);
        };
        shape.push(size);
    }
    // ggml lists the innermost axis first.
    shape.reverse();
    let kind = cursor.u32()?;
    let Some(dtype) = Dtype::from_ggml(kind) else {
        fail!(
            "{}: tensor \"{name}\" has ggml type {kind}, which is not supported (F32, F16, BF16, Q8_0, Q4_0, Q4_1, \
             Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are).",
            cursor.source
        );
    };
    Ok((name, shape, dtype, u64::from_le_bytes(cursor.array()?)))
}

fn check_overlap(tensors: &[Tensor], source: &Source) -> Result<()> {
    let mut sorted: Vec<&Tensor> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| tensor.offset);
    for pair in sorted.windows(2) {
        ensure!(
            pair[0].offset + pair[0].bytes <= pair[1].offset,
            "{source}: tensors \"{}\" and \"{}\" overlap in the file: it is damaged.",
            pair[0].name,
            pair[1].name
        );
    }
    Ok(())
}
