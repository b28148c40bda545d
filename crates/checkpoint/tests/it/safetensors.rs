//! Reading safetensors, sound and otherwise.

use std::fs;
use std::path::Path;

use checkpoint::{Checkpoint, Dtype};

use crate::message;

/// A file with that header and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Returns what is wrong with a file of those bytes.
fn refusal(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.safetensors");
    fs::write(&path, bytes).unwrap();
    message(&Checkpoint::open(&path).unwrap_err(), directory.path())
}

fn assert_refused(bytes: &[u8], reason: &str) {
    assert_eq!(
        refusal(bytes),
        format!("`x.safetensors` is not a valid safetensors file: {reason}")
    );
}

#[test]
fn a_tensor_has_the_type_shape_and_bytes_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[1,2],"data_offsets":[3,7]},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}  "#;
    fs::write(directory.path().join("model.safetensors"), file(header, &[1, 2, 3, 4, 5, 6, 7]))
        .unwrap();
    let opened = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(opened.path(), directory.path());
    assert_eq!(opened.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(opened.len(), 2);
    assert_eq!(opened.metadata()["format"], "pt");
    let (a, b) = (opened.tensor("a").unwrap(), opened.tensor("b").unwrap());
    assert_eq!((a.dtype, &*a.shape, &*a.bytes), (Dtype::U8, &[3][..], &[1, 2, 3][..]));
    assert_eq!((b.dtype, &*b.shape, &*b.bytes), (Dtype::F16, &[1, 2][..], &[4, 5, 6, 7][..]));
    assert!(opened.tensor("c").is_none());
}

#[test]
fn elements_are_aligned_wherever_the_file_puts_them() {
    for pad in 0..9 {
        let header = format!(
            r#"{{"x":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}{}"#,
            " ".repeat(pad)
        );
        let data = [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat();
        let opened = Checkpoint::from_bytes(file(&header, &data).leak()).unwrap();
        assert_eq!(opened.path(), Path::new("<embedded>"));
        assert_eq!(opened.tensor("x").unwrap().bytes.as_f32(), Some(&[1.5, -2.0][..]), "{pad}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(directory.path().join("none.safetensors")).unwrap_err();
    assert_eq!(
        message(&error, directory.path()),
        "there is no file or directory `none.safetensors`"
    );
}

#[test]
fn a_directory_without_a_checkpoint_lists_what_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let opened = || message(&Checkpoint::open(directory.path()).unwrap_err(), directory.path());
    let looked = "no checkpoint in `DIR`: looked for `model.safetensors`, \
                  `model.safetensors.index.json` and `model.gguf`, found";
    assert_eq!(opened(), format!("{looked} no file of a model"));
    for name in ["config.json", "checkpoint_3.pt", "notes.txt"] {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    assert_eq!(opened(), format!("{looked} `checkpoint_3.pt`, `config.json`"));
}

#[test]
fn files_of_other_formats_are_recognised() {
    let expected = "expected safetensors, GGUF or a PyTorch zip checkpoint";
    assert_eq!(refusal(b""), "`x.safetensors` is empty, expected a checkpoint");
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert_eq!(
        refusal(&tar),
        format!(
            "`x.safetensors` is a tar archive, perhaps a checkpoint of PyTorch before 0.2, {expected}"
        )
    );
    assert_eq!(
        Checkpoint::from_bytes(b"").unwrap_err().to_string(),
        "`<embedded>` is empty, expected a checkpoint"
    );
}

#[test]
fn a_wrong_header_length_is_refused() {
    assert_refused(&[1, 2, 3], "it has 3 bytes, expected at least 8");
    assert_refused(
        &[&100_000_001_u64.to_le_bytes()[..], b"{}"].concat(),
        "its header has 100000001 bytes, over the limit of 100000000",
    );
    assert_refused(
        &[&[0xff; 8][..], b"{}"].concat(),
        "its header has 18446744073709551615 bytes, over the limit of 100000000",
    );
    assert_refused(
        &[&3_u64.to_le_bytes()[..], b"{}"].concat(),
        "its header has 3 bytes, but only 2 bytes follow",
    );
}

#[test]
fn a_malformed_header_is_refused_with_the_entry() {
    let malformed = |header: &str, reason: &str| {
        let found = refusal(&file(header, &[]));
        let (found, position) = found.split_once(" at line 1 column ").unwrap();
        assert!(position.parse::<usize>().is_ok());
        let place = "`x.safetensors` is not a valid safetensors file: its header is malformed";
        assert_eq!(found, format!("{place}: {reason}"));
    };
    malformed("nonsense", "expected ident");
    malformed("[]", "invalid type: sequence, expected an object");
    malformed("{} {}", "trailing characters");
    malformed(
        r#"{"a":3}"#,
        "`a`: invalid type: integer `3`, expected an object with dtype, shape and data_offsets",
    );
    malformed(
        r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#,
        "`a`: invalid value: integer `-1`, expected usize",
    );
    malformed(r#"{"a":{"dtype":"F32","data_offsets":[0,0]}}"#, "`a`: missing field `shape`");
    let entry = r#""a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#;
    malformed(&format!("{{{entry},{entry}}}"), "`a` appears twice");
    malformed(r#"{"__metadata__":{"x":"1","x":"2"}}"#, "`__metadata__`: `x` appears twice");
    malformed(
        r#"{"__metadata__":{"x":1}}"#,
        "`__metadata__`: `x`: invalid type: integer `1`, expected a string",
    );
}

#[test]
fn a_wrong_entry_is_refused_with_its_numbers() {
    let refused = |dtype: &str, shape: &str, offsets: &str, reason: &str| {
        let header =
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#);
        assert_refused(&file(&header, &[0; 24]), reason);
    };
    refused(
        "F8_E4M3",
        "[24]",
        "[0,24]",
        "tensor `a` has dtype `F8_E4M3`, expected one of F64, F32, F16, BF16, I64, I32, I16, I8, \
         U8, BOOL",
    );
    refused(
        "F32",
        "[4611686018427387904,2]",
        "[0,24]",
        "tensor `a` has shape [4611686018427387904, 2], whose size overflows",
    );
    refused("F32", "[6]", "[24,0]", "tensor `a` begins at byte 24 and ends before, at 0");
    refused(
        "F32",
        "[2, 4]",
        "[0,24]",
        "tensor `a` of F32 and shape [2, 4] needs 32 bytes, its offsets span 24",
    );
    refused(
        "F32",
        "[8]",
        "[0,32]",
        "tensor `a` ends at byte 32 of the data, but the file has only 24; it is probably truncated",
    );
    refused("F32", "[5]", "[0,20]", "bytes 20 to 24 of the data belong to no tensor");
    refused(
        "F32",
        "[5]",
        "[4,24]",
        "bytes 0 to 4 of the data, before tensor `a`, belong to no tensor",
    );
}

#[test]
fn overlapping_tensors_are_refused() {
    let header = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}}"#;
    assert_refused(
        &file(header, &[0; 7]),
        "tensor `b` begins at byte 3 of the data and overlaps tensor `a`, which ends at 4",
    );
}

/// A directory with an index and one shard, which holds `a`.
fn sharded(index: &str) -> (tempfile::TempDir, Result<Checkpoint, String>) {
    let directory = tempfile::tempdir().unwrap();
    let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    fs::write(directory.path().join("1.safetensors"), file(header, &[7])).unwrap();
    fs::write(directory.path().join("model.safetensors.index.json"), index).unwrap();
    let opened = Checkpoint::open(directory.path()).map_err(|e| message(&e, directory.path()));
    (directory, opened)
}

#[test]
fn shards_are_found_through_the_index() {
    let (directory, opened) = sharded(r#"{"metadata":{},"weight_map":{"a":"1.safetensors"}}"#);
    assert_eq!(&*opened.unwrap().tensor("a").unwrap().bytes, [7]);
    let index = directory.path().join("model.safetensors.index.json");
    assert_eq!(Checkpoint::open(index).unwrap().len(), 1);
}

#[test]
fn a_wrong_index_is_refused() {
    let refused = |index: &str, expected: &str| {
        let found = sharded(index).1.unwrap_err();
        assert_eq!(found.split(" at line 1 column ").next().unwrap(), expected);
    };
    let index = "`model.safetensors.index.json`";
    refused(
        r#"{"weight_map":{"a":"2.safetensors"}}"#,
        &format!("shard `2.safetensors` is missing, although {index} names it"),
    );
    refused(
        r#"{"weight_map":{"a":"1.safetensors","b":"1.safetensors"}}"#,
        &format!("tensor `b` is not in shard `1.safetensors`, although {index} says so"),
    );
    refused(
        r#"{"weight_map":{"a":"../1.safetensors"}}"#,
        &format!(
            "{index} is not a valid index of shards: shard `../1.safetensors` is not a plain file \
             name"
        ),
    );
    refused(
        r#"{"weight_map":{"a":"1.safetensors","a":"1.safetensors"}}"#,
        &format!("{index} is not a valid index of shards: `a` appears twice"),
    );
    refused("{}", &format!("{index} is not a valid index of shards: missing field `weight_map`"));
}

#[test]
fn a_checkpoint_over_another_one_hides_what_both_have() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, tensors: &[(&str, f32)]| {
        let path = directory.path().join(name);
        let tensor = |value: f32| checkpoint::Tensor {
            dtype: Dtype::F32,
            shape: vec![1],
            bytes: value.to_le_bytes().to_vec().into(),
        };
        let tensors: Vec<_> = tensors.iter().map(|(name, v)| (*name, tensor(*v))).collect();
        checkpoint::save_file(&path, tensors.iter().map(|(name, t)| (*name, t))).unwrap();
        Checkpoint::open(&path).unwrap()
    };
    let base = file("base.safetensors", &[("a", 1.0), ("b", 2.0)]);
    let both = file("top.safetensors", &[("b", 3.0), ("c", 4.0)]).over(base);
    let value = |name: &str| both.tensor(name).unwrap().to_f32_vec().unwrap()[0].to_bits();
    assert_eq!(both.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(["a", "b", "c"].map(value), [1.0_f32, 3.0, 4.0].map(f32::to_bits));
    assert!(both.path().ends_with("top.safetensors"));
}
