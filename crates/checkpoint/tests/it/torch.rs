//! Reading checkpoints that `PyTorch` wrote.

use std::fs;
use std::path::Path;

use checkpoint::Checkpoint;

use crate::{FIXTURES, fixture, message};

/// Asserts that a fixture holds exactly what `expected.safetensors` says.
fn assert_sound(name: &str) {
    let expected = Checkpoint::open(fixture("expected.safetensors")).unwrap();
    let opened = Checkpoint::open(fixture(&format!("{name}.pt"))).unwrap();
    let prefix = format!("{name}/");
    let names: Vec<_> = expected.names().filter_map(|n| n.strip_prefix(&prefix)).collect();
    assert_eq!(opened.names().collect::<Vec<_>>(), names, "{name}");
    assert!(!names.is_empty());
    for tensor in names {
        let expected = expected.tensor(&format!("{prefix}{tensor}")).unwrap();
        let found = opened.tensor(tensor).unwrap();
        assert_eq!(
            (found.dtype, &found.shape, &*found.bytes),
            (expected.dtype, &expected.shape, &*expected.bytes),
            "{name}: {tensor}"
        );
    }
}

/// Returns what is wrong with a fixture.
fn refusal(name: &str) -> String {
    message(&Checkpoint::open(fixture(name)).unwrap_err(), Path::new(FIXTURES))
}

fn assert_refused(name: &str, reason: &str) {
    assert_eq!(refusal(name), format!("`{name}` is not a readable PyTorch checkpoint: {reason}"));
}

#[test]
fn a_bare_state_dict_is_read() {
    assert_sound("plain");
}

#[test]
fn a_training_checkpoint_gives_the_model_without_prefix_and_optimizer() {
    assert_sound("training");
}

#[test]
fn every_element_type_is_read() {
    assert_sound("dtypes");
}

#[test]
fn views_are_read_whatever_their_strides() {
    assert_sound("views");
}

#[test]
fn the_container_before_zip_is_read() {
    assert_sound("legacy");
}

#[test]
fn protocol_4_is_read() {
    assert_sound("protocol4");
}

#[test]
fn unknown_objects_beside_the_tensors_are_passed_over() {
    assert_sound("namespace");
}

#[test]
fn row_major_views_share_the_file() {
    let opened = Checkpoint::open(fixture("views.pt")).unwrap();
    let address = |name| opened.tensor(name).unwrap().bytes.as_ptr().addr();
    assert_eq!(address("row"), address("base") + 2 * 6 * 4);
    assert!(address("base").is_multiple_of(64));
}

#[test]
fn an_attack_is_refused_by_name() {
    let refused = |name: &str, global: &str| {
        assert_eq!(
            refusal(name),
            format!(
                "`{name}`: pickle asks for `{global}`, which could run code; this file is not a \
                 plain checkpoint and was not read further"
            )
        );
    };
    refused("os_system.pt", "posix.system");
    refused("eval.pt", "__builtin__.eval");
}

#[test]
fn what_is_not_a_dict_of_tensors_is_described() {
    assert_refused(
        "opaque.pt",
        "`args` of its state dict is made by `argparse.Namespace`, which is not read",
    );
    assert_refused(
        "no_tensors.pt",
        "it holds neither `model_state_dict` nor tensors, but `epoch`, `args`",
    );
    assert_refused("list.pt", "it holds a list, expected a dict of tensors");
}

#[test]
fn damaged_archives_are_refused() {
    assert_refused(
        "numel.pt",
        "tensor `weight`: storage `0` has 24 bytes, expected 7 elements of F32",
    );
    assert_refused(
        "offset.pt",
        "tensor `weight`: shape [6] with strides [1] at offset 2 reaches past the 24 bytes of \
         storage `0`",
    );
    let archive = refusal("storage.pt");
    assert!(
        archive.ends_with("tensor `weight`: its zip archive has no `archive/data/9`"),
        "{archive}"
    );
    assert_refused(
        "expand.pt",
        "tensor `weight`: its view takes 8589934588 bytes when copied, far more than the file holds",
    );
    assert_refused("big_endian.pt", "its byte order is `big`, expected `little`");
    assert_refused(
        "no_pickle.pt",
        "its zip archive has no `data.pkl`, so torch.save did not write it",
    );
    let truncated = refusal("truncated.pt");
    assert!(truncated.contains("its zip archive is damaged, perhaps truncated: "), "{truncated}");
}

#[test]
fn a_pickle_that_is_no_checkpoint_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |bytes: &[u8], reason: &str| {
        let path = directory.path().join("x.pt");
        fs::write(&path, bytes).unwrap();
        let error = Checkpoint::open(&path).unwrap_err();
        assert_eq!(
            message(&error, directory.path()),
            format!("`x.pt` is not a readable PyTorch checkpoint: {reason}")
        );
    };
    refused(b"\x80\x02K\x01.", "it is a pickle, but torch.save did not write it");
    refused(b"\x80\x02", "its pickle is malformed at byte 2: it ends too early");
    refused(b"\x80\x02.", "its pickle ends without a value");
    refused(b"\x80\x02t", "its pickle is malformed at byte 2: a mark is missing");
    refused(b"\x80\x02\xff", "its pickle is malformed at byte 2: 0xff is not an instruction");
    refused(
        b"\x80\x02I1\n",
        "its pickle is malformed at byte 2: it uses protocol 0 or 1, expected 2 to 5",
    );
    refused(b"\x80\x02h\x07", "its pickle is malformed at byte 2: nothing is remembered as 7");
    refused(
        b"\x80\x02K\x01)R",
        "its pickle is malformed at byte 5: it calls a plain value with a tuple",
    );
    refused(
        b"\x80\x02X\xff\xff\xff\xffabc",
        "its pickle is malformed at byte 2: it ends too early",
    );
    refused(b"\x80\x02ctorch\nSize\n.", "it is a pickle, but torch.save did not write it");
    refused(b"\x80\x02K\x01(\x85", "its pickle is malformed at byte 5: the stack is empty");
    refused(
        b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R",
        "its pickle is malformed at byte 36: it calls RebuildParameter with 0 arguments",
    );
    let marks = [b"\x80\x02".as_slice(), &vec![b'('; 1_000_001]].concat();
    refused(&marks, "its pickle is malformed at byte 1000002: it has more than 1000000 open marks");
    let lists = [b"\x80\x02".as_slice(), &b"]0".repeat(4_000_001)].concat();
    refused(&lists, "its pickle is malformed at byte 8000002: it makes more than 4000000 objects");
    let long = [b"\x80\x02c".as_slice(), &vec![b'a'; 5000], b"\nb\n."].concat();
    refused(
        &long,
        "its pickle is malformed at byte 2: the name of a global is longer than 4096 bytes",
    );
    // A list of 2000 pairs, and dicts that copy it.
    let pairs = [b"(".as_slice(), &b"NN\x86".repeat(2000), b"l\x85q\x00"].concat();
    let copies = b"ccollections\nOrderedDict\nh\x00R0".repeat(2001);
    let bomb = [b"\x80\x02", &*pairs, &*copies].concat();
    let start = 2 + pairs.len() + 2000 * 29 + 28 - 1;
    refused(
        &bomb,
        &format!("its pickle is malformed at byte {start}: it copies more than 4000000 items"),
    );
    let wide = [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
            .as_slice(),
        b"X\x01\x00\x00\x000NK\x02tQK\x00(",
        &b"K\x01".repeat(65),
        b"t2tR",
    ]
    .concat();
    refused(
        &wide,
        &format!(
            "its pickle is malformed at byte {}: a tensor has 65 dimensions and 65 strides, \
             expected as many, 64 at most",
            wide.len() - 1
        ),
    );
}
