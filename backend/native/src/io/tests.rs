//! Readers against files that are not what they should be, and the writer against failures. That values are right is
//! tested from TypeScript, where the files of other programs are.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::changes::{Changes, Keep, Outline as ChangesOutline};
use super::combine::{Computed, Term, inner_products};
use super::writer::{Outline, Writer};
use super::{Checkpoint, Dtype};

/// A folder of one test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xft-io-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/gguf").join(name);
    std::fs::read(path).unwrap()
}

/// Opens a file of these bytes and reads all of it. Only a panic is wrong here.
fn read_all(folder: &Folder, name: &str, bytes: &[u8]) -> Result<(), String> {
    let path = folder.file(name, bytes);
    let checkpoint = Checkpoint::open(&path).map_err(|error| error.0)?;
    for tensor in &checkpoint.tensors {
        checkpoint.stream(&tensor.name, |_, _| Ok(())).map_err(|error| error.0)?;
    }
    Ok(())
}

/// Every byte of the header with a bit flipped, and files cut short.
fn torture(name: &str, header: usize) {
    let folder = Folder::new();
    let bytes = golden(name);
    read_all(&folder, name, &bytes).unwrap();
    for at in 0..header {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let _ = read_all(&folder, name, &damaged);
    }
    for length in (0..bytes.len()).step_by(97) {
        let error = read_all(&folder, name, &bytes[..length]).unwrap_err();
        assert!(error.contains(name) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn no_damaged_gguf_panics() {
    torture("blocks.gguf", 864);
}

#[test]
fn no_damaged_safetensors_panics() {
    let bytes = golden("blocks.safetensors");
    let header = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
    torture("blocks.safetensors", 8 + header);
}

/// A GGUF header with these counts and this body.
fn gguf(tensors: u64, pairs: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(pairs.to_le_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn a_gguf_header_cannot_ask_for_more_than_its_file() {
    let folder = Folder::new();
    let error = |bytes: &[u8]| read_all(&folder, "m.gguf", bytes).unwrap_err();
    assert!(error(&gguf(u64::MAX, 0, &[])).contains("room for"));
    assert!(error(&gguf(0, u64::MAX, &[])).contains("room for"));
    // One key "k", an array of u8 that claims 2^40 values.
    let mut array = 1u64.to_le_bytes().to_vec();
    array.extend(b"k\x09\0\0\0\0\0\0\0");
    array.extend((1u64 << 40).to_le_bytes());
    assert!(error(&gguf(0, 1, &array)).contains("room for"));
    // A tensor whose elements overflow.
    let mut tensor = 1u64.to_le_bytes().to_vec();
    tensor.extend(b"t\x02\0\0\0");
    tensor.extend([(1u64 << 62).to_le_bytes(), (1u64 << 62).to_le_bytes()].concat());
    tensor.extend([0; 12]);
    assert!(error(&gguf(1, 0, &tensor)).contains("impossible shape"));
    // Arrays in arrays, as deep as the file is long.
    let mut nested = 1u64.to_le_bytes().to_vec();
    nested.extend(b"k");
    for _ in 0..10_000 {
        nested.extend(9u32.to_le_bytes());
        nested.extend([9, 0, 0, 0]);
        nested.extend(1u64.to_le_bytes());
    }
    assert!(!error(&gguf(0, 1, &nested)).is_empty());
    assert!(error(b"GGUF\0\0\0\x03").contains("big-endian"));
}

fn outline(tensors: &[(&str, &[usize])]) -> Outline {
    Outline {
        dtype: "F32".to_owned(),
        metadata: serde_json::Map::new(),
        tensors: tensors.iter().map(|&(name, shape)| (name.to_owned(), shape.to_vec())).collect(),
    }
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let folder = Folder::new();
    let target = folder.file("m.safetensors", b"old");
    let mut writer = Writer::create(&target, outline(&[("a", &[2]), ("b", &[0, 3]), ("c", &[])])).unwrap();
    writer.add(&[1.0, 2.0]).unwrap();
    assert!(writer.add(&[1.0]).unwrap_err().0.contains("\"b\""));
    drop(writer);
    assert_eq!(folder.names(), ["m.safetensors"]);
    assert_eq!(std::fs::read(&target).unwrap(), b"old");

    let mut writer = Writer::create(&target, outline(&[("a", &[2]), ("b", &[0, 3]), ("c", &[])])).unwrap();
    writer.add(&[1.0, 2.0]).unwrap();
    writer.add(&[]).unwrap();
    writer.add(&[3.0]).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"old");
    writer.finish().unwrap();
    assert_eq!(folder.names(), ["m.safetensors"]);
    let checkpoint = Checkpoint::open(&target).unwrap();
    let mut values = [0.0; 2];
    checkpoint.read("a", &mut values).unwrap();
    assert_eq!(values, [1.0, 2.0]);
    checkpoint.read("c", &mut values[..1]).unwrap();
    assert_eq!(values[0], 3.0);
    assert!(checkpoint.read("a", &mut values[..1]).is_err());
}

#[test]
fn an_incomplete_file_is_not_finished() {
    let folder = Folder::new();
    let target = folder.0.join("m.safetensors");
    let writer = Writer::create(&target, outline(&[("a", &[2])])).unwrap();
    assert!(writer.finish().unwrap_err().0.contains("only 0 of 1"));
    assert!(folder.names().is_empty());
    assert!(Writer::create(&target, outline(&[("a", &[1]), ("a", &[1])])).is_err());
    assert!(Writer::create(&folder.0.join("no/m.safetensors"), outline(&[])).err().unwrap().0.contains("no such file"));
    assert!(folder.names().is_empty());
}

#[test]
fn the_formats_own_crate_reads_what_we_write_and_the_other_way_round() {
    let folder = Folder::new();
    let target = folder.0.join("m.safetensors");
    for (dtype, bytes) in [("F32", 4), ("BF16", 2), ("F16", 2)] {
        let mut about = outline(&[("z", &[2, 3]), ("a", &[1])]);
        about.dtype = dtype.to_owned();
        about.metadata.insert("format".to_owned(), "pt".into());
        let mut writer = Writer::create(&target, about).unwrap();
        writer.add(&[0.0, -0.0, 1.0, -2.5, f32::INFINITY, 1e-8]).unwrap();
        writer.add(&[7.0]).unwrap();
        writer.finish().unwrap();
        let written = std::fs::read(&target).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&written).unwrap();
        assert_eq!(theirs.tensor("z").unwrap().shape(), [2, 3]);
        assert_eq!(theirs.tensor("z").unwrap().data().len(), 6 * bytes);
        assert_eq!(Dtype::from_safetensors(&theirs.tensor("a").unwrap().dtype().to_string()).unwrap().name(), dtype);
    }
    let data: Vec<u8> = [5i64, -6].iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![2], &data).unwrap();
    let theirs = safetensors::serialize([("ids", view)], None).unwrap();
    let checkpoint = Checkpoint::open(&folder.file("theirs.safetensors", &theirs)).unwrap();
    let mut values = [0.0; 2];
    checkpoint.read("ids", &mut values).unwrap();
    assert_eq!(values, [5.0, -6.0]);
}

/// Two files of one tensor each: more than one chunk, all of it numbers between −1 and 1.
fn two_tensors(folder: &Folder) -> [Checkpoint; 2] {
    let elements = super::CHUNK + 5 * super::PIECE + 77;
    [0x9e37_79b1_u32, 0x85eb_ca6b].map(|factor| {
        let target = folder.0.join(format!("{factor}.safetensors"));
        let mut writer = Writer::create(&target, outline(&[("w", &[elements])])).unwrap();
        let number = |index: u32| (index.wrapping_mul(factor) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        writer.add(&(0..elements as u32).map(number).collect::<Vec<_>>()).unwrap();
        writer.finish().unwrap();
        Checkpoint::open(&target).unwrap()
    })
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn what_is_computed_from_files_does_not_depend_on_the_number_of_threads() {
    let folder = Folder::new();
    let [base, model] = two_tensors(&folder);
    let products = |threads| {
        let terms = [&base, &model].map(|each| Term::new(each, "w", 1.0).unwrap());
        with_threads(threads, || inner_products(&terms).unwrap().into_iter().map(f64::to_bits).collect::<Vec<_>>())
    };
    assert_eq!(products(1), products(3));
    let names = vec!["w".to_owned(); 3];
    let keep = vec![Keep::Largest { count: 400_000, without: 1000 }, Keep::Random { below: 1 << 22, key: [7, 9] }];
    let outline = ChangesOutline { names, keep, elect: true, normalize: true };
    let merged = |threads| {
        with_threads(threads, || {
            let checkpoints = [&base, &model, &model];
            let changes = Changes::new(&checkpoints, &[0.3, 0.7], 1.5, &outline).unwrap();
            let mut out = vec![0.0; changes.elements()];
            changes.compute(0, &mut out).unwrap();
            out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    assert!(merged(1) == merged(3), "one thread and three give other bits");
}

#[test]
fn the_largest_changes_are_those_at_the_front_of_a_sorted_list() {
    let folder = Folder::new();
    let [base, model] = two_tensors(&folder);
    let elements = model.tensors[0].elements();
    let [mut own, mut values] = [vec![0.0; elements], vec![0.0; elements]];
    base.read("w", &mut own).unwrap();
    model.read("w", &mut values).unwrap();
    let changes: Vec<f32> = values.iter().zip(&own).map(|(value, own)| value - own).collect();
    let mut sorted: Vec<f32> = changes.iter().map(|change| change.abs()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let counts = [1, 2, 1000, elements / 2, elements - 1, elements];
    for (count, without) in counts.map(|count| (count, 0)).into_iter().chain([(1, 1), (500, 1000), (elements - 7, 7)]) {
        let outline = ChangesOutline {
            names: vec!["w".to_owned(); 2],
            keep: vec![Keep::Largest { count, without }],
            elect: false,
            normalize: false,
        };
        let checkpoints = [&base, &model];
        let merged = Changes::new(&checkpoints, &[1.0], 1.0, &outline).unwrap();
        let mut out = vec![0.0; elements];
        merged.compute(0, &mut out).unwrap();
        let expected = changes.iter().zip(&own).map(|(&change, &own)| {
            let kept = (sorted[without + count - 1]..=sorted[without]).contains(&change.abs());
            if kept { (f64::from(own) + f64::from(change)) as f32 } else { own }
        });
        assert!(out.iter().copied().eq(expected), "{count} of {elements} without the largest {without}");
    }
}

#[test]
fn changes_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let [base, _] = two_tensors(&folder);
    let small = folder.0.join("small.safetensors");
    let mut writer = Writer::create(&small, outline(&[("w", &[1])])).unwrap();
    writer.add(&[1.0]).unwrap();
    writer.finish().unwrap();
    let small = Checkpoint::open(&small).unwrap();
    let about =
        |keep: Vec<Keep>| ChangesOutline { names: vec!["w".to_owned(); 2], keep, elect: false, normalize: false };
    let (one, none) = (about(vec![Keep::All]), about(vec![]));
    let checkpoints = [&base, &small];
    assert!(Changes::new(&checkpoints, &[1.0], 1.0, &one).err().unwrap().0.contains("do not add up"));
    assert!(Changes::new(&checkpoints, &[1.0], 1.0, &none).err().unwrap().0.contains("ways to keep"));
}
