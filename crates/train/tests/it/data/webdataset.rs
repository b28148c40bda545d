//! Streams of shards: order, parts, damage, and going on from any place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::json;
use tempfile::tempdir;
use train::data::shards::expand;
use train::data::{Part, SampleRng, Shards, ShuffleConfig, Source, WebDataset, WebDatasetConfig};

use super::support::{bare_make, keys, open, shard, tar_of, write_shards};

const SIZES: [usize; 7] = [4, 1, 6, 3, 0, 5, 2];
const NUM_SAMPLES: usize = 21;

/// Returns settings that keep the order.
fn in_order() -> WebDatasetConfig {
    WebDatasetConfig {
        shuffle_shards: false,
        shuffle: ShuffleConfig { size: 1, initial: 1 },
        ..WebDatasetConfig::default()
    }
}

/// Returns settings that shuffle both ways.
fn shuffled() -> WebDatasetConfig {
    let shuffle = ShuffleConfig { size: 6, initial: 4 };
    WebDatasetConfig { seed: 7, shuffle, ..WebDatasetConfig::default() }
}

fn all_keys() -> BTreeSet<String> {
    let of = |(shard, size): (usize, &usize)| {
        (0..*size).map(move |number| format!("s{shard}-{number}")).collect::<Vec<_>>()
    };
    SIZES.iter().enumerate().flat_map(of).collect()
}

fn set(keys: &[String]) -> BTreeSet<String> {
    keys.iter().cloned().collect()
}

#[test]
fn patterns_stand_for_what_a_shell_makes_of_them() {
    for (pattern, expected) in [
        ("a.tar", "a.tar"),
        ("{000..003}.tar", "000.tar 001.tar 002.tar 003.tar"),
        ("{8..11}", "8 9 10 11"),
        ("{08..11}", "08 09 10 11"),
        ("{3..1}", "3 2 1"),
        ("{a,b}-{0..1}.tar", "a-0.tar a-1.tar b-0.tar b-1.tar"),
        ("x{a,b{1..2},{c,d}}y", "xay xb1y xb2y xcy xdy"),
        ("{a,}", "a "),
        ("{one}", "{one}"),
        ("s3://b/{0..1}/{x,y}.tar", "s3://b/0/x.tar s3://b/0/y.tar s3://b/1/x.tar s3://b/1/y.tar"),
    ] {
        assert_eq!(expand(pattern).unwrap().join(" "), expected, "{pattern}");
    }
    for pattern in
        ["{0..1", "0..1}", "}{", "{0..99999999}{0..99999999}", "{0..18446744073709551615}"]
    {
        let error = expand(pattern).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`shards` is `{pattern}`, expected ")), "{error}");
    }
}

#[test]
fn a_folder_stands_for_its_shards_in_the_order_of_their_names() {
    let dir = tempdir().unwrap();
    write_shards(dir.path(), &SIZES);
    std::fs::write(dir.path().join("notes.txt"), "no shard").unwrap();
    let mut source = open(&dir.path().display().to_string(), in_order());
    let found = keys(&mut source, NUM_SAMPLES);
    assert_eq!(found[..6], ["s0-0", "s0-1", "s0-2", "s0-3", "s1-0", "s2-0"]);
    assert_eq!(set(&found), all_keys());
    assert_eq!(keys(&mut source, 2), ["s0-0", "s0-1"]);
    assert_eq!(source.epoch(), 1);
    let empty = tempdir().unwrap();
    let pattern = empty.path().display().to_string();
    let error = Shards::find(&[pattern], BTreeMap::new()).unwrap_err().to_string();
    assert!(error.ends_with("` has no samples"), "{error}");
}

#[test]
fn members_of_one_name_are_one_sample_and_other_files_are_passed_over() {
    let long = format!("folder/{}", "n".repeat(200));
    let members: Vec<(String, &[u8])> = vec![
        ("README".to_owned(), b"text"),
        ("a.txt".to_owned(), b"img"),
        ("a.json".to_owned(), b"{}"),
        ("a.JPG".to_owned(), b"img a"),
        ("dir.v1/a.png".to_owned(), b"img"),
        ("dir.v1/a.txt".to_owned(), b"img"),
        ("only.json".to_owned(), b"{}"),
        ("b.jpeg".to_owned(), b"img"),
        ("c.seg.jpg".to_owned(), b"img"),
        ("d.txt".to_owned(), b""),
        ("d.jpg".to_owned(), b""),
        ("e.jpg".to_owned(), b"img"),
        ("e.png".to_owned(), b"img"),
        ("e.txt".to_owned(), b"img"),
        (format!("{long}.jpg"), b"img"),
        (format!("{long}.txt"), b"img"),
    ];
    let dir = tempdir().unwrap();
    let path = dir.path().join("x.tar");
    std::fs::write(&path, tar_of(&members)).unwrap();
    let mut source = open(&path.display().to_string(), in_order());
    let mut names = Vec::new();
    for index in 0..7 {
        let made = source.next().unwrap()(&mut SampleRng::new(0, index));
        names.push(made.map_or_else(|bad| bad.to_string(), |sample| sample.key));
    }
    let long = format!("captions/x.tar/{long}");
    let expected = [
        "captions/x.tar/a",
        "captions/x.tar/dir.v1/a",
        "`captions/x.tar/b`: it is incomplete",
        "captions/x.tar/d",
        "`captions/x.tar/e`: it is incomplete",
        "captions/x.tar/e",
        long.as_str(),
    ];
    assert_eq!(names, expected);
    assert_eq!(source.epoch(), 0);
}

#[test]
fn epochs_are_in_other_orders_and_equal_seeds_in_the_same() {
    let dir = tempdir().unwrap();
    let pattern = write_shards(dir.path(), &SIZES);
    let stream = |seed| keys(&mut open(&pattern, WebDatasetConfig { seed, ..shuffled() }), 63);
    let first = stream(7);
    assert_eq!(first, stream(7));
    assert_ne!(first, stream(8));
    let epochs: Vec<_> = first.chunks(NUM_SAMPLES).collect();
    for epoch in &epochs {
        assert_eq!(set(epoch), all_keys());
    }
    assert_ne!(epochs[0], epochs[1]);
    assert_ne!(epochs[1], epochs[2]);
    let only_buffer = WebDatasetConfig { shuffle_shards: false, ..shuffled() };
    let mixed = keys(&mut open(&pattern, only_buffer), NUM_SAMPLES);
    assert_eq!(set(&mixed), all_keys());
    assert_ne!(mixed, keys(&mut open(&pattern, in_order()), NUM_SAMPLES));
}

#[test]
fn the_buffer_starts_small_and_grows_to_its_size() {
    let dir = tempdir().unwrap();
    let pattern = write_shards(dir.path(), &[20]);
    let mut source = open(&pattern, shuffled());
    let mut lens = Vec::new();
    let mut found = Vec::new();
    for _ in 0..20 {
        found.extend(keys(&mut source, 1));
        lens.push(source.position()["buffer"].as_array().unwrap().len());
    }
    assert_eq!(lens, [3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 4, 3, 2, 1, 0]);
    let first: usize = found[0].rsplit('-').next().unwrap().parse().unwrap();
    assert!(first < 4);
}

#[test]
fn parts_have_every_sample_exactly_once() {
    let dir = tempdir().unwrap();
    let pattern = write_shards(dir.path(), &SIZES);
    for (num_ranks, num_workers) in [(1, 1), (2, 1), (3, 2), (5, 1), (4, 2), (3, 3)] {
        let mut found = Vec::new();
        for rank in 0..num_ranks {
            for worker in 0..num_workers {
                let part = Part::of_worker(rank, num_ranks, worker, num_workers);
                let mut source = open(&pattern, WebDatasetConfig { part, ..shuffled() });
                // Up to the end of the first epoch, which shows in the position before.
                while let Ok(task) = source.next() {
                    if source.epoch() > 0 {
                        break;
                    }
                    found.push(task(&mut SampleRng::new(0, 0)).unwrap().key);
                }
            }
        }
        let found: Vec<_> =
            found.iter().map(|key| key.rsplit('/').next().unwrap().to_owned()).collect();
        assert_eq!(found.len(), NUM_SAMPLES, "{num_ranks} ranks of {num_workers} workers");
        assert_eq!(set(&found), all_keys());
    }
    let config = WebDatasetConfig { part: Part { index: 2, count: 2 }, ..shuffled() };
    let shards = Shards::find(&[pattern], BTreeMap::new()).unwrap();
    let error = WebDataset::new(shards, config, bare_make()).unwrap_err().to_string();
    assert_eq!(error, "`part` is 2 of 2, expected an index below the number of parts");
}

#[test]
fn resampling_draws_shards_with_replacement_and_each_part_its_own() {
    let dir = tempdir().unwrap();
    let pattern = write_shards(dir.path(), &[1; 50]);
    let stream = |index| {
        let part = Part { index, count: 2 };
        let config = WebDatasetConfig { resample: true, part, ..in_order() };
        keys(&mut open(&pattern, config), 50)
    };
    let (first, second) = (stream(0), stream(1));
    assert_ne!(first, second);
    let (epoch, next) = first.split_at(25);
    assert!(set(epoch).len() < 25, "{epoch:?}");
    assert_ne!(epoch, next);
    assert_eq!(first, stream(0));
}

/// Checks that the stream goes on alike from each of its first places.
fn assert_resumes_anywhere(pattern: &str, config: &WebDatasetConfig, num_places: usize) {
    const AFTER: usize = 12;
    let mut whole = open(pattern, config.clone());
    let mut positions = vec![whole.position()];
    let mut expected = Vec::new();
    for _ in 0..num_places + AFTER {
        expected.extend(keys(&mut whole, 1));
        positions.push(whole.position());
    }
    for (place, position) in positions.iter().take(num_places).enumerate() {
        let text = position.to_string();
        let mut resumed = open(pattern, config.clone());
        // Wherever it was before.
        keys(&mut resumed, place % 5);
        resumed.seek(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(resumed.position(), *position);
        let found = keys(&mut resumed, AFTER);
        assert_eq!(found, expected[place..place + AFTER], "from place {place}");
        assert_eq!(resumed.position(), positions[place + AFTER]);
    }
}

#[test]
fn a_stream_goes_on_from_any_place() {
    let dir = tempdir().unwrap();
    let pattern = write_shards(dir.path(), &SIZES);
    assert_resumes_anywhere(&pattern, &in_order(), 50);
    assert_resumes_anywhere(&pattern, &shuffled(), 70);
    assert_resumes_anywhere(&pattern, &WebDatasetConfig { resample: true, ..shuffled() }, 70);
    let part = Part { index: 1, count: 3 };
    assert_resumes_anywhere(&pattern, &WebDatasetConfig { part, ..shuffled() }, 30);
    let part = Part { index: 2, count: 9 };
    assert_resumes_anywhere(&pattern, &WebDatasetConfig { part, ..shuffled() }, 10);
    let large = ShuffleConfig { size: 1000, initial: 1000 };
    assert_resumes_anywhere(&pattern, &WebDatasetConfig { shuffle: large, ..shuffled() }, 50);
}

/// Shortens a file.
fn cut(path: &Path, len: usize) {
    let contents = std::fs::read(path).unwrap();
    std::fs::write(path, &contents[..len]).unwrap();
}

#[test]
fn a_shard_that_breaks_off_or_is_gone_is_counted_and_the_rest_goes_on() {
    let dir = tempdir().unwrap();
    let pattern = write_shards(dir.path(), &SIZES);
    // In the middle of the contents of `s2-3.jpg`: a block of header and one of contents for each
    // member before, and the header.
    cut(&dir.path().join("00002.tar"), 12 * 512 + 512 + 20);
    std::fs::remove_file(dir.path().join("00005.tar")).unwrap();
    let mut expected = all_keys();
    let lost =
        |key: &String| key.starts_with("s5") || ["s2-3", "s2-4", "s2-5"].contains(&key.as_str());
    expected.retain(|key| !lost(key));
    let mut source = open(&pattern, shuffled());
    let num_failed = source.num_failed();
    let found = keys(&mut source, expected.len());
    assert_eq!(set(&found), expected);
    assert_eq!(num_failed.load(Ordering::Relaxed), 2);
    assert_resumes_anywhere(&pattern, &shuffled(), 40);
}

#[test]
fn a_shard_cut_anywhere_gives_its_whole_samples_only() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("00000.tar");
    let whole = shard(0, 4);
    let good = dir.path().join("00001.tar");
    std::fs::write(&good, shard(1, 1)).unwrap();
    let pattern = dir.path().display().to_string();
    let mut last = 0;
    for len in (0..whole.len()).step_by(64) {
        std::fs::write(&path, &whole[..len]).unwrap();
        let mut source = open(&pattern, in_order());
        let found = keys(&mut source, 5);
        let num_whole = found.iter().position(|key| key == "s1-0").unwrap();
        let names: Vec<_> = (0..num_whole).map(|number| format!("s0-{number}")).collect();
        assert_eq!(found[..num_whole], names);
        assert!(num_whole >= last);
        last = num_whole;
    }
    assert_eq!(last, 4);
}

#[test]
fn no_bytes_of_a_shard_end_the_stream() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("00000.tar");
    std::fs::write(dir.path().join("00001.tar"), shard(1, 1)).unwrap();
    let pattern = dir.path().display().to_string();
    let mut rng = SampleRng::new(3, 0);
    for _ in 0..300 {
        let mut bytes = shard(0, 3);
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len());
            bytes[at] = rng.below(256) as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        let found = keys(&mut open(&pattern, in_order()), 8);
        assert!(found.contains(&"s1-0".to_owned()));
    }
}

#[test]
fn if_no_shard_can_be_read_the_error_says_why() {
    let dir = tempdir().unwrap();
    let pattern = format!("{}/{{0..2}}.tar", dir.path().display());
    let error = open(&pattern, in_order()).next().err().unwrap().to_string();
    let expected = format!(
        "no shard of data set `captions` can be read, the last one failed: `{}/2.tar`: ",
        dir.path().display()
    );
    assert!(error.starts_with(&expected), "{error}");
    let pattern = write_shards(dir.path(), &[0, 0]);
    let error = open(&pattern, in_order()).next().err().unwrap().to_string();
    assert_eq!(error, "data set `captions` has no samples");
}

#[test]
fn sizes_beside_the_shards_say_how_many_samples_there_are() {
    let dir = tempdir().unwrap();
    let pattern = write_shards(dir.path(), &SIZES);
    let num_samples = || open(&pattern, in_order()).num_samples();
    assert_eq!(num_samples(), None);
    let mut sizes: BTreeMap<_, _> =
        SIZES.iter().enumerate().map(|(index, size)| (format!("{index:05}.tar"), *size)).collect();
    let write = |sizes: &BTreeMap<String, usize>| {
        std::fs::write(dir.path().join("sizes.json"), json!(sizes).to_string()).unwrap();
    };
    write(&sizes);
    assert_eq!(num_samples(), Some(NUM_SAMPLES as u64));
    sizes.remove("00003.tar");
    write(&sizes);
    assert_eq!(num_samples(), None);
    std::fs::write(dir.path().join("sizes.json"), "[1, 2]").unwrap();
    assert_eq!(num_samples(), None);
}

#[test]
fn a_position_of_another_stream_is_an_error() {
    let dir = tempdir().unwrap();
    let pattern = write_shards(dir.path(), &SIZES);
    let mut source = open(&pattern, shuffled());
    keys(&mut source, 5);
    let position = source.position();
    let error = |key: &str, value: serde_json::Value| {
        let mut changed = position.clone();
        changed[key] = value;
        open(&pattern, shuffled()).seek(&changed).unwrap_err().to_string()
    };
    let start = "the saved position does not belong to data set `captions`: ";
    for (key, value, reason) in [
        ("num_shards", json!(6), "it has 6 shards, expected 7"),
        ("seed", json!(8), "it has 8 as its seed, expected 7"),
        ("part", json!([1, 1]), "it has 1 as its part, expected 0"),
        ("at", json!(8), "it is at shard 8 of 7"),
        ("buffer", json!([[7, 0]]), "it is at shard 7 of 7"),
        ("epoch", json!("one"), "invalid type: string \"one\", expected u64"),
    ] {
        let message = error(key, value);
        assert!(message.starts_with(&format!("{start}{reason}; ")), "{message}");
    }
}
