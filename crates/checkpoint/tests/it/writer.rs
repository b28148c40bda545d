//! Writing safetensors.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use checkpoint::{Bytes, Checkpoint, Dtype, Error, ShardPlan, Tensor, TensorSpec, save, save_file};
use proptest::prelude::*;

use crate::{f32s, message};

fn spec(name: &str, dtype: Dtype, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Tensors of any type, with names that need escaping and sizes that do not align.
fn tensors() -> impl Strategy<Value = BTreeMap<String, Tensor>> {
    let shape = prop::collection::vec(0..5_usize, 0..4);
    let dtype = prop::sample::select(Dtype::ALL.to_vec());
    let tensor = (dtype, shape, any::<u8>()).prop_map(|(dtype, shape, seed)| {
        let len = dtype.size() * shape.iter().product::<usize>();
        let bytes: Vec<u8> = (0..len).map(|i| seed.wrapping_add((i * 7) as u8)).collect();
        Tensor { dtype, shape, bytes: Bytes::from(bytes) }
    });
    let names = prop_oneof!["[a-z.\"\\\\é]{1,12}", Just("__weird\n".to_owned())];
    prop::collection::btree_map(names, tensor, 0..12)
}

fn assert_same(opened: &Checkpoint, tensors: &BTreeMap<String, Tensor>) {
    assert_eq!(opened.names().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
    for (name, expected) in tensors {
        let found = opened.tensor(name).unwrap();
        assert_eq!(
            (found.dtype, &found.shape, &*found.bytes),
            (expected.dtype, &expected.shape, &*expected.bytes)
        );
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(tensors in tensors(), max_shard_bytes in 0..400_usize) {
        let directory = tempfile::tempdir().unwrap();
        let all = || tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let written = save(directory.path(), all(), max_shard_bytes).unwrap();
        assert_same(&Checkpoint::open(directory.path()).unwrap(), &tensors);
        for path in written {
            let bytes = fs::read(path).unwrap();
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            prop_assert_eq!((8 + header) % 64, 0);
        }
        let file = directory.path().join("one.safetensors");
        save_file(&file, all()).unwrap();
        assert_same(&Checkpoint::open(file).unwrap(), &tensors);
    }
}

#[test]
fn shards_keep_to_the_limit_and_are_indexed() {
    let directory = tempfile::tempdir().unwrap();
    let tensors: Vec<_> = [3, 1, 9, 2].map(|n| f32s(&[n], vec![n as f32; n])).into();
    let named = ["a", "b", "c", "d"].into_iter().zip(&tensors);
    let written = save(directory.path(), named, 16).unwrap();
    let names: Vec<_> = written.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    let shard = |n| format!("model-{n:05}-of-00003.safetensors");
    assert_eq!(names, [shard(1), shard(2), shard(3)]);
    let index = fs::read_to_string(directory.path().join("model.safetensors.index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let weight_map =
        serde_json::json!({"a": shard(1), "b": shard(1), "c": shard(2), "d": shard(3)});
    assert_eq!(index["metadata"]["total_size"], 60);
    assert_eq!(index["weight_map"], weight_map);
    let opened = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(opened.metadata()["format"], "pt");
    assert_eq!(opened.tensor("c").unwrap().to_f32_vec().unwrap(), [9.0; 9]);
}

#[test]
fn a_plan_is_filled_in_pieces_and_in_an_order_that_keeps_alignment() {
    let directory = tempfile::tempdir().unwrap();
    let even = spec("even", Dtype::Bf16, &[32]);
    let specs = [
        spec("odd", Dtype::U8, &[3]),
        spec("wide", Dtype::F64, &[2]),
        even.clone(),
        TensorSpec { name: "even2".to_owned(), ..even },
    ];
    let plan = ShardPlan::new(specs, usize::MAX).unwrap();
    assert_eq!((plan.num_shards(), plan.num_bytes()), (1, 19 + 128));
    let mut order = Vec::new();
    plan.write(directory.path(), |spec, sink| {
        order.push(spec.name.clone());
        (0..spec.dtype.size() * spec.shape[0]).try_for_each(|i| sink.put(&[i as u8]))
    })
    .unwrap_or_else(|error: Error| panic!("{error}"));
    assert_eq!(order, ["even", "even2", "wide", "odd"]);
    let opened = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(*opened.tensor("odd").unwrap().bytes, [0, 1, 2]);
    assert_eq!(opened.tensor("wide").unwrap().bytes[15], 15);
    let address = |name| opened.tensor(name).unwrap().bytes.as_ptr().addr();
    assert_eq!((address("even") % 64, address("even2") % 64), (0, 0));
}

#[test]
fn an_interrupted_write_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let old = f32s(&[1], [1.0]);
    save(directory.path(), [("old", &old)], usize::MAX).unwrap();
    let before = files(directory.path());
    let specs = [spec("a", Dtype::U8, &[1]), spec("b", Dtype::U8, &[1])];
    let plan = ShardPlan::new(specs, 1).unwrap();
    let interrupted = plan.write(directory.path(), |spec, sink| match spec.name.as_str() {
        "a" => sink.put(&[1]),
        _ => Err(Error::Duplicate { name: "stop".to_owned() }),
    });
    assert_eq!(interrupted.unwrap_err().to_string(), "tensor `stop` is given twice");
    assert_eq!(files(directory.path()), before);
    assert!(Checkpoint::open(directory.path()).unwrap().tensor("old").is_some());
}

#[test]
fn a_new_checkpoint_replaces_all_files_of_the_old() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (f32s(&[1], [1.0]), f32s(&[1], [2.0]));
    fs::write(directory.path().join("config.json"), "{}").unwrap();
    save(directory.path(), [("a", &a)], 4).unwrap();
    save(directory.path(), [("a", &a), ("b", &b)], 4).unwrap();
    let names =
        ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    assert_eq!(files(directory.path()), [&names[..], &["model.safetensors.index.json"]].concat());
    // Read and written at once, as a conversion in place does.
    let opened = Checkpoint::open(directory.path()).unwrap();
    let all: Vec<_> = opened.names().map(|name| (name, opened.tensor(name).unwrap())).collect();
    save(directory.path(), all, usize::MAX).unwrap();
    assert_eq!(files(directory.path()), ["config.json", "model.safetensors"]);
    assert_eq!(Checkpoint::open(directory.path()).unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn files_are_as_readable_as_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
    fs::write(directory.path().join("plain"), "x").unwrap();
    save(directory.path(), [("a", &f32s(&[1], [1.0]))], 4).unwrap();
    assert_eq!(mode("model.safetensors"), mode("plain"));
}

#[test]
fn wrong_tensors_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let twice = [spec("a", Dtype::U8, &[1]), spec("a", Dtype::U8, &[1])];
    assert_eq!(ShardPlan::new(twice, 1).unwrap_err().to_string(), "tensor `a` is given twice");
    let huge = [spec("a", Dtype::F32, &[usize::MAX / 2, 2])];
    assert_eq!(
        ShardPlan::new(huge, 1).unwrap_err().to_string(),
        format!("tensor `a` has shape [{}, 2], whose size in bytes overflows", usize::MAX / 2)
    );
    for (len, found) in [(3, 3), (5, 5)] {
        let wrong = Tensor { dtype: Dtype::F32, shape: vec![1], bytes: Bytes::from(vec![0; len]) };
        assert_eq!(
            save(directory.path(), [("a", &wrong)], 4).unwrap_err().to_string(),
            format!("tensor `a` has 4 bytes by its type and shape, but was given {found}")
        );
    }
    assert!(files(directory.path()).is_empty());
    let plan = ShardPlan::new([spec("a", Dtype::U8, &[1])], 1).unwrap();
    let too_much = plan.write::<Error>(directory.path(), |_, sink| {
        loop {
            sink.put(&[0; 2])?;
        }
    });
    assert_eq!(
        too_much.unwrap_err().to_string(),
        "tensor `a` has 1 bytes by its type and shape, but was given 2"
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = save(&file, [("a", &f32s(&[1], [1.0]))], 4).unwrap_err();
    assert!(message(&error, directory.path()).starts_with("cannot write `file`: "));
}
