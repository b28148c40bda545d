//! Any bytes at all: an error or a checkpoint, never a panic, and never for long.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use checkpoint::{Bytes, Checkpoint, Dtype, Tensor, save_file};
use proptest::prelude::*;

use crate::fixture;

/// Opens the bytes as a file and touches every tensor.
fn open(directory: &Path, bytes: &[u8]) {
    let path = directory.join("x");
    fs::write(&path, bytes).unwrap();
    if let Ok(opened) = Checkpoint::open(&path) {
        for name in opened.names() {
            let tensor = opened.tensor(name).unwrap();
            let len = tensor.shape.iter().product::<usize>() * tensor.dtype.size();
            assert_eq!(tensor.bytes.len(), len);
            std::hint::black_box(tensor.bytes.iter().fold(0, |a, b| a ^ b));
        }
    }
}

static SOUND_FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let tensor = |dtype: Dtype, n| Tensor {
        dtype,
        shape: vec![n, 1],
        bytes: Bytes::from(vec![1; n * dtype.size()]),
    };
    let (a, b) = (tensor(Dtype::F32, 5), tensor(Dtype::U8, 3));
    save_file(&path, [("a", &a), ("b", &b)]).unwrap();
    let torch = ["training", "views", "legacy", "protocol4"].map(|n| fixture(&format!("{n}.pt")));
    std::iter::once(path).chain(torch).map(|path| fs::read(path).unwrap()).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_damaged_file_never_panics(
        which in 0..5_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = SOUND_FILES[which].clone();
        for (index, value) in flips {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(keep) = keep {
            bytes.truncate(keep.index(bytes.len()));
        }
        open(directory.path(), &bytes);
    }

    #[test]
    fn random_headers_never_panic(header in "[\\[\\]{}\":,a-zA-Z0-9 ]{0,80}", data in 0..64_usize) {
        let directory = tempfile::tempdir().unwrap();
        let len = (header.len() as u64).to_le_bytes();
        open(directory.path(), &[&len[..], header.as_bytes(), &vec![0; data]].concat());
    }

    #[test]
    fn random_pickles_never_panic(program in prop::collection::vec(instruction(), 0..60)) {
        let directory = tempfile::tempdir().unwrap();
        let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
        let version = b"\x80\x02M\xe9\x03.\x80\x02}.";
        let program = program.concat();
        open(directory.path(), &[b"\x80\x02", &*program].concat());
        open(directory.path(), &[&magic[..], version, b"\x80\x02", &*program, b".\x80\x02]."].concat());
    }
}

/// Instructions that often make sense after one another, and any bytes.
fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let known: [&[u8]; 34] = [
        b"(", b"0", b"1", b"2", b"N", b"\x88", b"K\x01", b"K\x02", b"J\xff\xff\xff\xff", b"]", b")", b"}",
        b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"R", b"\x81", b"b", b"Q",
        b"q\x00", b"h\x00", b"\x94", b"X\x01\x00\x00\x00a", b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x00\x00\x00\x00K\x02tQ",
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x00\x00\x00\x00K\x02tQK\x00K\x02\x85K\x01\x85tR",
    ];
    prop_oneof![
        9 => prop::sample::select(known.map(<[u8]>::to_vec).to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ]
}
