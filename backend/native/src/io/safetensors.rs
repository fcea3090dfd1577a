//! Safetensors: a header in JSON, then the tensors' bytes. A file, or a folder of them with or without an index.
//!
//! The `safetensors` crate would refuse the same files, but its errors name neither tensor nor byte.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::{Checkpoint, Dtype, PICKLE, Source, Tensor, reason};
use crate::error::{Error, Result};
use crate::{ensure, fail};

/// Bytes of the header's length.
const LENGTH: usize = 8;

/// Longest header, as in the format's own crate.
const LONGEST_HEADER: usize = 100_000_000;

const INDEX: &str = "model.safetensors.index.json";

/// One entry of the header.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// The header in its order, with every name that occurs (`serde_json::Map` would keep the last of equal ones).
struct Header {
    entries: Vec<(String, Entry)>,
    metadata: Map<String, Value>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
                let mut header = Header { entries: Vec::new(), metadata: Map::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = map.next_value()?;
                    } else {
                        header.entries.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// The header's length, if there can be one.
fn header_length(source: &Source) -> Option<usize> {
    let bytes = source.map.first_chunk::<LENGTH>()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

/// Whether a file without the extension is one: a plausible length, then the start of an object.
pub fn looks_alike(source: &Source) -> bool {
    header_length(source).is_some_and(|length| length <= LONGEST_HEADER) && source.map.get(LENGTH) == Some(&b'{')
}

/// Reads a file's header: metadata and tensors, with `file` as their number.
fn parse(source: &Source, file: usize) -> Result<(Map<String, Value>, Vec<Tensor>)> {
    let size = source.map.len();
    let Some(length) = header_length(source) else {
        fail!("{source}: the file has {size} bytes, too few for a safetensors header. Download it again.");
    };
    ensure!(
        length <= LONGEST_HEADER,
        "{source}: this is no safetensors file: its header would be {length} bytes long ({LONGEST_HEADER} at most)."
    );
    let data = LENGTH + length;
    let Some(text) = source.map.get(LENGTH..data) else {
        fail!("{source}: the header ends at byte {data}, the file has {size}: it is cut short. Download it again.");
    };
    let mut header: Header = serde_json::from_slice(text)
        .map_err(|error| Error(format!("{source}: the safetensors header is not valid: {error}.")))?;
    header.entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = Vec::with_capacity(header.entries.len());
    let mut previous = ("", 0);
    for (name, entry) in &header.entries {
        let (begin, end) = entry.data_offsets;
        let Some(dtype) = Dtype::from_safetensors(&entry.dtype) else {
            fail!("{source}: tensor \"{name}\" has dtype {:?}, which is not supported.", entry.dtype);
        };
        ensure!(
            begin >= previous.1,
            "{source}: tensors \"{}\" and \"{name}\" overlap in the file: it is damaged.",
            previous.0
        );
        ensure!(begin == previous.1, "{source}: {} bytes before tensor \"{name}\" belong to none.", begin - previous.1);
        let Some(offset) = data.checked_add(begin) else {
            fail!("{source}: tensor \"{name}\" lies at the impossible offset {begin}.");
        };
        let needed = dtype.bytes(&entry.shape);
        ensure!(
            end >= begin && needed == Some(end - begin),
            "{source}: tensor \"{name}\" ({} {:?}) needs {} bytes, its offsets [{begin}, {end}] give another number.",
            entry.dtype,
            entry.shape,
            needed.map_or_else(|| "too many".to_owned(), |bytes| bytes.to_string())
        );
        tensors.push(Tensor::new(name.clone(), entry.shape.clone(), dtype, file, offset, source)?);
        previous = (name, end);
    }
    ensure!(
        data + previous.1 == size,
        "{source}: {} bytes after the last tensor belong to none: the file is damaged.",
        size - data - previous.1
    );
    Ok((header.metadata, tensors))
}

/// Opens one file.
pub fn open(source: Source) -> Result<Checkpoint> {
    let (metadata, tensors) = parse(&source, 0)?;
    Checkpoint::new("safetensors", Value::Object(metadata), tensors, vec![source])
}

/// Opens a model folder: the shards of its index, else `model.safetensors`, else every safetensors file in it.
pub fn open_folder(folder: &Path) -> Result<Checkpoint> {
    let index = folder.join(INDEX);
    let (names, weight_map) = if index.is_file() {
        let weight_map = read_index(&index)?;
        let mut names: Vec<String> = weight_map.values().cloned().collect();
        names.sort();
        names.dedup();
        (names, weight_map)
    } else {
        (files(folder)?, BTreeMap::new())
    };
    let mut metadata = Map::new();
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut sources = Vec::with_capacity(names.len());
    for (file, name) in names.iter().enumerate() {
        let source = Source::open(&folder.join(name))?;
        let (about, listed) = parse(&source, file)?;
        metadata.extend(about);
        tensors.extend(listed);
        sources.push(source);
    }
    let checkpoint = Checkpoint::new("safetensors", Value::Object(metadata), tensors, sources)?;
    for (tensor, shard) in &weight_map {
        let found = checkpoint.by_name.get(tensor).map(|&at| &names[checkpoint.tensors[at].file]);
        ensure!(
            found == Some(shard),
            "{}: tensor \"{tensor}\" should be in {shard}, but is not there.",
            index.display()
        );
    }
    Ok(checkpoint)
}

/// The index's `weight_map`: tensor → file beside it.
fn read_index(index: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let place = index.display();
    let text = std::fs::read(index).map_err(|error| Error(format!("{place}: {}", reason(&error))))?;
    let parsed: Index =
        serde_json::from_slice(&text).map_err(|error| Error(format!("{place}: not a valid index: {error}.")))?;
    for shard in parsed.weight_map.values() {
        // An index from elsewhere must not make us read files outside its folder.
        let mut parts = Path::new(shard).components();
        ensure!(
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)),
            "{place}: the shard \"{shard}\" is no file name."
        );
    }
    ensure!(!parsed.weight_map.is_empty(), "{place}: the index lists no tensors.");
    Ok(parsed.weight_map)
}

/// Names of the safetensors files of a folder without an index.
fn files(folder: &Path) -> Result<Vec<String>> {
    let model = "model.safetensors".to_owned();
    if folder.join(&model).is_file() {
        return Ok(vec![model]);
    }
    let (mut names, mut pickles) = (Vec::new(), Vec::new());
    for entry in
        std::fs::read_dir(folder).map_err(|error| Error(format!("{}: {}", folder.display(), reason(&error))))?
    {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => names.push(name.to_owned()),
            Some("bin" | "pt" | "pth") => pickles.push(name.to_owned()),
            _ => {}
        }
    }
    if let (true, Some(pickle)) = (names.is_empty(), pickles.iter().min()) {
        fail!("{}: {PICKLE}", folder.join(pickle).display());
    }
    ensure!(!names.is_empty(), "{}: there is no safetensors file in this folder.", folder.display());
    names.sort();
    Ok(names)
}

/// A header's bytes for tensors that follow each other, padded so that the data begins aligned.
pub(super) fn format_header(
    tensors: &[(String, Vec<usize>)],
    dtype: Dtype,
    metadata: &Map<String, Value>,
) -> Result<Vec<u8>> {
    let mut entries = Map::new();
    let mut begin = 0usize;
    for (name, shape) in tensors {
        let Some(end) = dtype.bytes(shape).and_then(|bytes| begin.checked_add(bytes)) else {
            fail!("tensor \"{name}\" has the impossible shape {shape:?}");
        };
        let entry = json!({ "dtype": dtype.name(), "shape": shape, "data_offsets": [begin, end] });
        if entries.insert(name.clone(), entry).is_some() {
            fail!("tensor \"{name}\" is written twice");
        }
        begin = end;
    }
    if !metadata.is_empty() {
        entries.insert("__metadata__".to_owned(), Value::Object(metadata.clone()));
    }
    let mut text = serde_json::to_vec(&entries)?;
    // Spaces are valid at the end; eight-byte alignment lets readers map the data in place.
    text.resize(text.len().next_multiple_of(8), b' ');
    ensure!(text.len() <= LONGEST_HEADER, "the tensors' names need {} bytes, too many for a header", text.len());
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    Ok(bytes)
}
