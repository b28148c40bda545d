//! GGUF files: written, read back, and refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use checkpoint::{Bytes, Checkpoint, Dtype, Error, GgufPlan, MetadataValue, Tensor, TensorSpec};
use proptest::prelude::*;

fn tensor(dtype: Dtype, shape: &[usize]) -> Tensor {
    let len = dtype.num_bytes(shape).unwrap();
    let bytes = (0..len).map(|i| (i * 7 % 251) as u8).collect::<Vec<_>>();
    Tensor { dtype, shape: shape.to_vec(), bytes: Bytes::from(bytes) }
}

fn write(path: &Path, tensors: &[(&str, Tensor)]) -> Result<(), Error> {
    let metadata = [
        ("general.architecture", MetadataValue::Text("aki".to_owned())),
        ("general.quantization_version", MetadataValue::U32(2)),
        ("aki.scale", MetadataValue::F32(0.5)),
        ("aki.is_tied", MetadataValue::Bool(true)),
    ];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let specs = tensors.iter().map(|(name, tensor)| TensorSpec {
        name: (*name).to_owned(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
    });
    let plan = GgufPlan::new(specs, metadata)?;
    let by_name: BTreeMap<_, _> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    plan.write(path, |spec, sink| sink.put(&by_name[spec.name.as_str()].bytes))
}

fn sound() -> Vec<(&'static str, Tensor)> {
    vec![
        ("f32", tensor(Dtype::F32, &[3, 5])),
        ("scalar", tensor(Dtype::F64, &[])),
        ("q8_0", tensor(Dtype::Q8_0, &[3, 64])),
        ("q4_0", tensor(Dtype::Q4_0, &[2, 32])),
        ("q4_k", tensor(Dtype::Q4K, &[2, 512])),
        ("q5_k", tensor(Dtype::Q5K, &[3, 256])),
        ("q6_k", tensor(Dtype::Q6K, &[1, 1, 256])),
        ("bf16", tensor(Dtype::Bf16, &[7])),
        ("none", tensor(Dtype::I8, &[0, 9])),
    ]
}

fn sound_bytes() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    write(&path, &sound()).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn what_is_written_is_read_back_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    write(&path, &sound()).unwrap();
    for opened in [Checkpoint::open(directory.path()).unwrap(), Checkpoint::open(&path).unwrap()] {
        assert_eq!(opened.len(), sound().len());
        for (name, expected) in sound() {
            let found = opened.tensor(name).unwrap();
            assert_eq!((found.dtype, &found.shape), (expected.dtype, &expected.shape), "{name}");
            assert_eq!(*found.bytes, *expected.bytes, "{name}");
            assert!(found.bytes.is_empty() || found.bytes.as_ptr().addr().is_multiple_of(32));
        }
        let metadata = opened.metadata();
        assert_eq!(metadata["general.architecture"], "aki");
        assert_eq!(metadata["general.alignment"], "32");
        assert_eq!((&*metadata["aki.scale"], &*metadata["aki.is_tied"]), ("0.5", "true"));
    }
}

#[test]
fn a_file_is_laid_out_as_the_format_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.gguf");
    let ones = Tensor { dtype: Dtype::F32, shape: vec![1, 2], bytes: Bytes::from(vec![1; 8]) };
    let spec = TensorSpec { name: "w".to_owned(), dtype: Dtype::F32, shape: vec![1, 2] };
    let plan = GgufPlan::new([spec], BTreeMap::new()).unwrap();
    plan.write(&path, |_, sink| sink.put(&ones.bytes)).unwrap();
    let mut expected = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    expected.extend(b"\x11\0\0\0\0\0\0\0general.alignment\x04\0\0\0\x20\0\0\0");
    expected.extend(b"\x01\0\0\0\0\0\0\0w\x02\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
    expected.extend(b"\0\0\0\0\0\0\0\0\0\0\0\0");
    expected.resize(expected.len().next_multiple_of(32), 0);
    expected.extend([1; 8]);
    expected.resize(expected.len().next_multiple_of(32), 0);
    assert_eq!(fs::read(&path).unwrap(), expected);
}

#[test]
fn a_file_takes_the_place_of_an_earlier_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let (path, f32s) = (directory.path().join("model.gguf"), tensor(Dtype::F32, &[2]));
    checkpoint::save(directory.path(), [("old", &f32s)], usize::MAX).unwrap();
    write(&path, &[("new", f32s.clone())]).unwrap();
    assert!(Checkpoint::open(directory.path()).unwrap().tensor("new").is_some());
    checkpoint::save(directory.path(), [("old", &f32s)], usize::MAX).unwrap();
    assert!(!path.exists());
}

#[test]
fn what_a_format_cannot_hold_is_refused() {
    let plan = |dtype, shape: &[usize]| {
        let spec = TensorSpec { name: "w".to_owned(), dtype, shape: shape.to_vec() };
        GgufPlan::new([spec], BTreeMap::new()).unwrap_err().to_string()
    };
    let refusal = "tensor `w` has dtype Q8_0 and shape [2, 33], which GGUF files cannot hold";
    assert_eq!(plan(Dtype::Q8_0, &[2, 33]), refusal);
    assert!(plan(Dtype::Bool, &[2]).ends_with("which GGUF files cannot hold"));
    assert!(plan(Dtype::F32, &[1; 5]).ends_with("which GGUF files cannot hold"));
    assert!(plan(Dtype::F32, &[usize::MAX, 2]).ends_with("whose size in bytes overflows"));
    let blocks = tensor(Dtype::Q4K, &[1, 256]);
    let error = checkpoint::save(Path::new("/nowhere"), [("w", &blocks)], 1).unwrap_err();
    let refusal =
        "tensor `w` has dtype Q4_K and shape [1, 256], which safetensors files cannot hold";
    assert_eq!(error.to_string(), refusal);
    let twice = [("w", blocks.clone()), ("w", blocks.clone())];
    assert_eq!(write(Path::new("x"), &twice).unwrap_err().to_string(), "tensor `w` is given twice");
    assert!(blocks.to_dtype(Dtype::F32).is_err());
}

/// A file of one tensor, whose description can be wrong.
struct File {
    version: u32,
    counts: (u64, u64),
    metadata: Vec<u8>,
    name_len: u64,
    dimensions: Vec<u64>,
    kind: u32,
    offset: u64,
    data: usize,
}

impl File {
    fn new() -> Self {
        let (metadata, dimensions) = (Vec::new(), vec![32, 1]);
        Self {
            version: 3,
            counts: (1, 0),
            metadata,
            name_len: 1,
            dimensions,
            kind: 8,
            offset: 0,
            data: 34,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&b"GGUF"[..], &self.version.to_le_bytes()].concat();
        bytes.extend(self.counts.0.to_le_bytes());
        bytes.extend(self.counts.1.to_le_bytes());
        bytes.extend(&self.metadata);
        for tensor in 0..self.counts.0.min(2) as u8 {
            bytes.extend(self.name_len.to_le_bytes());
            bytes.push(b'a' + tensor);
            bytes.extend((self.dimensions.len() as u32).to_le_bytes());
            bytes.extend(self.dimensions.iter().flat_map(|d| d.to_le_bytes()));
            bytes.extend(self.kind.to_le_bytes());
            bytes.extend(self.offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(32) + self.data, 0);
        bytes
    }

    fn refusal(change: impl FnOnce(&mut Self)) -> String {
        let mut file = Self::new();
        change(&mut file);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, file.bytes()).unwrap();
        let error = Checkpoint::open(&path).expect_err("the file is not sound").to_string();
        let (_, reason) = error.split_once("is not a readable GGUF file: ").unwrap();
        reason.to_owned()
    }
}

/// A metadata value: its key, the number of its type, and its bytes.
fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let len = (key.len() as u64).to_le_bytes();
    [&len[..], key.as_bytes(), &kind.to_le_bytes(), value].concat()
}

#[test]
fn unsound_files_are_refused_by_name() {
    let huge = u64::MAX;
    let with = |entry: Vec<u8>| move |f: &mut File| (f.counts.1, f.metadata) = (1, entry);
    let strings = [&8_u32.to_le_bytes()[..], &huge.to_le_bytes()].concat();
    let numbers = [&10_u32.to_le_bytes()[..], &huge.to_le_bytes()].concat();
    let nested = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat().repeat(9);
    let alignment = |value: u32| entry("general.alignment", 4, &value.to_le_bytes());
    let refusals = [
        (File::refusal(|f| f.version = 1), "it has version 1, expected 2 or 3"),
        (
            File::refusal(|f| f.version = 3_u32.swap_bytes()),
            "it has version 3 in the other byte order, expected 2 or 3",
        ),
        (
            File::refusal(|f| f.counts.0 = huge),
            "it claims 18446744073709551615 tensors and 0 metadata",
        ),
        (
            File::refusal(|f| f.counts.1 = huge),
            "it claims 1 tensors and 18446744073709551615 metadata",
        ),
        (File::refusal(|f| f.name_len = huge), "tensor 0 of 1 needs 18446744073709551615 bytes"),
        (File::refusal(|f| f.dimensions = vec![1; 9]), "tensor `a` has 9 dimensions"),
        (File::refusal(|f| f.dimensions = vec![32, huge, 2]), "whose size overflows"),
        (
            File::refusal(|f| f.dimensions = vec![33, 1]),
            "tensor `a` of Q8_0 has rows of 33 elements, expected a multiple of 32",
        ),
        (File::refusal(|f| f.kind = 11), "tensor `a` has type 11 (Q3_K), expected one of F32"),
        (File::refusal(|f| f.kind = 99), "tensor `a` has type 99, expected one of F32"),
        (File::refusal(|f| f.offset = 8), "tensor `a` begins at byte 8 of the data"),
        (File::refusal(|f| f.offset = 32), "tensor `a` needs 34 bytes from byte 32 of the data"),
        (File::refusal(|f| f.offset = huge - 31), "tensor `a` needs 34 bytes"),
        (File::refusal(|f| f.data = 33), "it is probably truncated"),
        (File::refusal(|f| f.counts.0 = 2), "tensor `b` overlaps tensor `a`"),
        (
            File::refusal(with(entry("k", 9, &strings))),
            "metadata value `k` needs 137438953474 bytes",
        ),
        (File::refusal(with(entry("k", 9, &numbers))), "whose size in bytes overflows"),
        (File::refusal(with(entry("k", 9, &nested))), "more than 4 deep"),
        (File::refusal(with(entry("k", 13, &[]))), "metadata value `k` has type 13"),
        (File::refusal(with(alignment(0))), "`general.alignment` is `0`, expected a power of two"),
        (File::refusal(with(alignment(24))), "`general.alignment` is `24`"),
        (
            File::refusal(|f| (f.counts.1, f.metadata) = (2, alignment(32).repeat(2))),
            "metadata value `general.alignment` appears twice",
        ),
    ];
    for (found, expected) in refusals {
        assert!(found.contains(expected), "{found:?} does not say {expected:?}");
    }
}

#[test]
fn version_two_and_other_alignments_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    fs::write(&path, File { version: 2, ..File::new() }.bytes()).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().tensor("a").unwrap().shape, [1, 32]);
    let array = [&5_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &[0; 8]].concat();
    let metadata = [entry("general.alignment", 4, &8_u32.to_le_bytes()), entry("a", 9, &array)];
    let file = File { counts: (1, 2), metadata: metadata.concat(), offset: 8, ..File::new() };
    let mut bytes = file.bytes();
    bytes.resize(bytes.len() + 64, 0);
    fs::write(&path, bytes).unwrap();
    let opened = Checkpoint::open(&path).unwrap();
    assert_eq!(opened.tensor("a").unwrap().bytes.len(), 34);
    assert_eq!(opened.metadata().len(), 1);
}

#[test]
fn every_truncation_is_an_error() {
    let (directory, bytes) = (tempfile::tempdir().unwrap(), sound_bytes());
    let path = directory.path().join("x");
    // The last tensor that has data is followed by padding alone.
    let last = bytes.len() - 32 + 14;
    for len in (1..last).step_by(3) {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(Checkpoint::open(&path).is_err(), "{len} of {}", bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_gguf_file_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        early in any::<bool>(),
    ) {
        let mut bytes = sound_bytes();
        // Most of what can go wrong is before the data.
        let end = if early { 600 } else { bytes.len() };
        for (index, value) in flips {
            let at = index.index(end);
            bytes[at] = value;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, &bytes).unwrap();
        if let Ok(opened) = Checkpoint::open(&path) {
            for name in opened.names() {
                let tensor = opened.tensor(name).unwrap();
                prop_assert_eq!(Some(tensor.bytes.len()), tensor.dtype.num_bytes(&tensor.shape));
                std::hint::black_box(tensor.bytes.iter().fold(0, |a, b| a ^ b));
            }
        }
    }
}
