//! The pool of threads: order, bad samples, errors, and going on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use prompt::Preprocessor;
use serde_json::{Value, json};
use tempfile::tempdir;
use train::data::shards::StoreOptions;
use train::data::{
    Augment, BadSample, CaptionKind, CaptionMaker, Error, Loader, LoaderConfig, Sample, Shards,
    Share, ShuffleConfig, Source, Task, WebDataset, WebDatasetConfig,
};

use super::support::{bare_make, bare_sample, encoder, golden, tar_of, write_shards};

/// Counts up: each number divisible by `bad` is a bad sample, by `panics` a panic; ends with an
/// error before `end`.
#[derive(Clone)]
struct Numbers {
    next: u64,
    bad: u64,
    panics: u64,
    end: u64,
    num_drawn: Arc<AtomicU64>,
    num_made: Arc<AtomicU64>,
}

impl Numbers {
    fn new() -> Self {
        let (num_drawn, num_made) = Default::default();
        let never = u64::MAX;
        Self { next: 1, bad: never, panics: never, end: never, num_drawn, num_made }
    }

    fn bad(bad: u64) -> Self {
        Self { bad, ..Self::new() }
    }
}

impl Source for Numbers {
    fn next(&mut self) -> Result<Task, Error> {
        let Self { next: number, bad, panics, end, .. } = *self;
        if number == end {
            return Err(Error::Empty { stream: "what is left".to_owned() });
        }
        self.next += 1;
        self.num_drawn.fetch_add(1, Ordering::Relaxed);
        let num_made = Arc::clone(&self.num_made);
        Ok(Box::new(move |rng| {
            num_made.fetch_add(1, Ordering::Relaxed);
            assert!(!number.is_multiple_of(panics), "{number} is no good");
            if number.is_multiple_of(bad) {
                return Err(BadSample::new(number.to_string(), "its number is bad"));
            }
            // Some take longer than others.
            let work =
                (0..number % 7 * 1000).fold(0, |sum: u64, at| std::hint::black_box(sum + at));
            assert_ne!(work, 1);
            Ok(bare_sample(number.to_string(), rng))
        }))
    }

    fn position(&self) -> Value {
        json!(self.next)
    }

    fn seek(&mut self, position: &Value) -> Result<(), Error> {
        let wrong = || Error::Position { stream: "numbers".to_owned(), reason: "?".to_owned() };
        self.next = position.as_u64().ok_or_else(wrong)?;
        Ok(())
    }
}

fn config(num_threads: usize) -> LoaderConfig {
    LoaderConfig { num_threads, prefetch: 16, max_bad_in_a_row: 5, seed: 3, share: None }
}

fn start(source: &Numbers, config: LoaderConfig, position: Option<&Value>) -> Loader {
    Loader::start(Box::new(source.clone()), config, position).expect("threads can be started")
}

fn numbers(samples: &[Sample]) -> Vec<u64> {
    samples.iter().map(|sample| sample.key.parse().expect("keys are numbers")).collect()
}

/// Returns a folder of shards with real pictures, some samples of which are bad.
fn pictures() -> tempfile::TempDir {
    let files = ["cat.jpg", "one_pixel.png", "strip.png", "cat.webp", "coffee_cmyk.jpg"];
    let files = files.map(|file| std::fs::read(golden("images").join(file)).unwrap());
    let dir = tempdir().unwrap();
    for shard in 0..5 {
        let mut members: Vec<(String, Vec<u8>)> = Vec::new();
        for number in 0..60 {
            let index = shard * 60 + number;
            let picture = match index % 10 {
                7 => b"no picture".to_vec(),
                // Large pictures are the exception, so that the test is quick.
                0 => files[index / 10 % files.len()].clone(),
                _ => files[1].clone(),
            };
            members.push((format!("{index:03}.jpg"), picture));
            if index % 10 != 8 {
                members.push((format!("{index:03}.txt"), format!("picture {index}").into_bytes()));
            }
        }
        let members: Vec<_> =
            members.iter().map(|(name, contents)| (name.as_str(), contents.as_slice())).collect();
        std::fs::write(dir.path().join(format!("{shard}.tar")), tar_of(&members)).unwrap();
    }
    dir
}

fn captions(dir: &std::path::Path) -> Box<dyn Source> {
    let shards = Shards::find(&[dir.display().to_string()], StoreOptions::new()).unwrap();
    let make = CaptionMaker {
        encoder: encoder(|config| config.max_text_tokens = 128),
        preprocessor: Preprocessor { image_size: 28, mean: [0.5; 3], std: [0.5; 3] },
        augment: Augment::instructions(),
        kind: CaptionKind::Plain,
    };
    let shuffle = ShuffleConfig { size: 40, initial: 20 };
    let config = WebDatasetConfig { shuffle, ..WebDatasetConfig::default() };
    Box::new(WebDataset::new(shards, config, make.into_make()).unwrap())
}

#[test]
fn hundreds_of_pictures_come_out_alike_on_any_number_of_threads_and_from_any_batch() {
    let dir = pictures();
    let mut alone = Loader::start(captions(dir.path()), config(1), None).unwrap();
    let expected: Vec<_> = (0..10).map(|_| alone.next_batch(32).unwrap()).collect();
    let num_bad: usize = expected.iter().map(|batch| batch.bad).sum();
    assert!((60..100).contains(&num_bad), "{num_bad}");
    assert_eq!(expected[0].samples[0].pixels[0].len(), 3 * 28 * 28);
    for num_threads in [2, 8] {
        let mut loader = Loader::start(captions(dir.path()), config(num_threads), None).unwrap();
        for expected in &expected {
            let batch = loader.next_batch(32).unwrap();
            assert_eq!(batch.samples, expected.samples);
            assert_eq!((batch.bad, &batch.position), (expected.bad, &expected.position));
        }
    }
    for (at, before) in expected.iter().enumerate().take(9).step_by(2) {
        let position = serde_json::from_str(&before.position.to_string()).unwrap();
        let mut loader = Loader::start(captions(dir.path()), config(3), Some(&position)).unwrap();
        let batch = loader.next_batch(32).unwrap();
        assert_eq!(batch.samples, expected[at + 1].samples, "after batch {at}");
        assert_eq!(batch.bad, expected[at + 1].bad);
    }
}

#[test]
fn samples_come_in_the_order_of_the_stream_with_the_same_choices() {
    let mut alone = start(&Numbers::new(), config(1), None);
    let expected = alone.next_batch(500).unwrap().samples;
    assert_eq!(numbers(&expected), (1..=500).collect::<Vec<_>>());
    let choices: BTreeSet<_> =
        expected.iter().map(|sample| sample.pixels[0][0].to_bits()).collect();
    assert!(choices.len() > 490);
    assert_eq!(start(&Numbers::new(), config(8), None).next_batch(500).unwrap().samples, expected);
    let other = LoaderConfig { seed: 4, ..config(1) };
    assert_ne!(start(&Numbers::new(), other, None).next_batch(500).unwrap().samples, expected);
}

#[test]
fn a_bad_sample_is_counted_and_replaced_by_the_next() {
    let mut loader = start(&Numbers::bad(3), config(4), None);
    let batch = loader.next_batch(4).unwrap();
    assert_eq!(numbers(&batch.samples), [1, 2, 4, 5]);
    assert_eq!(batch.bad, 1);
    let batch = loader.next_batch(4).unwrap();
    assert_eq!(numbers(&batch.samples), [7, 8, 10, 11]);
    assert_eq!(batch.bad, 2);
}

#[test]
fn a_panic_is_a_bad_sample() {
    let source = Numbers { panics: 5, ..Numbers::new() };
    let batch = start(&source, config(3), None).next_batch(6).unwrap();
    assert_eq!(numbers(&batch.samples), [1, 2, 3, 4, 6, 7]);
    assert_eq!(batch.bad, 1);
    let source = Numbers { panics: 1, ..Numbers::new() };
    let error = start(&source, config(2), None).next_batch(1).unwrap_err().to_string();
    assert!(error.contains("`task 5`: making it panicked: 6 is no good"), "{error}");
}

#[test]
fn too_many_bad_samples_in_a_row_are_an_error_that_says_why() {
    let mut loader = start(&Numbers::bad(1), config(2), None);
    let error = loader.next_batch(1).unwrap_err().to_string();
    let reasons = [2, 3, 4, 5, 6].map(|number| format!("`{number}`: its number is bad")).join("; ");
    assert_eq!(error, format!("6 samples in a row are bad, the last ones: {reasons}"));
}

#[test]
fn an_error_of_the_stream_comes_after_the_samples_before_it() {
    let source = Numbers { end: 8, ..Numbers::new() };
    let mut loader = start(&source, config(3), None);
    assert_eq!(numbers(&loader.next_batch(7).unwrap().samples), (1..8).collect::<Vec<_>>());
    assert_eq!(loader.next_batch(1).unwrap_err().to_string(), "what is left has no samples");
    let stopped = loader.next_batch(1).unwrap_err().to_string();
    assert_eq!(stopped, "the loader has stopped after an earlier error");
}

#[test]
fn loading_goes_on_after_any_batch_and_makes_nothing_again() {
    let mut whole = start(&Numbers::bad(4), config(3), None);
    let batches: Vec<_> = (0..60).map(|_| whole.next_batch(3).unwrap()).collect();
    for (at, batch) in batches.iter().enumerate().take(58) {
        let mut source = Numbers::bad(4);
        source.num_made = Arc::default();
        let config = LoaderConfig { prefetch: 1, ..config(1) };
        let mut resumed = start(&source, config, Some(&batch.position));
        for expected in &batches[at + 1..at + 3] {
            let batch = resumed.next_batch(3).unwrap();
            assert_eq!(batch.samples, expected.samples, "after batch {at}");
            assert_eq!(batch.position["num_tasks"], expected.position["num_tasks"]);
        }
        drop(resumed);
        // Six good ones, at most two bad ones, and what was made ahead.
        assert!(source.num_made.load(Ordering::Relaxed) <= 6 + 2 + 3);
    }
}

#[test]
fn nothing_that_was_consumed_is_decoded_again_after_resuming() {
    let dir = tempdir().unwrap();
    let pattern = write_shards(dir.path(), &[40, 40, 40, 40]);
    let made = Arc::new(Mutex::new(Vec::new()));
    let open = || {
        let (made, make) = (Arc::clone(&made), bare_make());
        let shards = Shards::find(std::slice::from_ref(&pattern), StoreOptions::new()).unwrap();
        let shuffle = ShuffleConfig { size: 50, initial: 30 };
        let config = WebDatasetConfig { shuffle, ..WebDatasetConfig::default() };
        let make = Arc::new(move |raw: train::data::RawSample, rng: &mut _| {
            made.lock().unwrap().push(raw.key.clone());
            make(raw, rng)
        });
        Box::new(WebDataset::new(shards, config, make).unwrap())
    };
    let mut loader = Loader::start(open(), config(2), None).unwrap();
    let consumed = loader.next_batch(100).unwrap();
    drop(loader);
    made.lock().unwrap().clear();
    let mut loader = Loader::start(open(), config(2), Some(&consumed.position)).unwrap();
    loader.next_batch(20).unwrap();
    drop(loader);
    let again = made.lock().unwrap().clone();
    assert!(again.len() >= 20);
    assert!(consumed.samples.iter().all(|sample| !again.contains(&sample.key)));
}

#[test]
fn only_so_many_samples_are_made_ahead_and_dropping_ends_the_threads() {
    let source = Numbers::new();
    let mut loader = start(&source, config(4), None);
    loader.next_batch(10).unwrap();
    drop(loader);
    // One more is drawn and waits for a place.
    assert!(source.num_drawn.load(Ordering::Relaxed) <= 10 + 16 + 1);
    assert_eq!(Arc::strong_count(&source.num_drawn), 1);
    assert_eq!(Arc::strong_count(&source.num_made), 1);
}

#[test]
fn processes_share_a_stream_by_blocks_and_together_have_all_of_it() {
    let shared = |index| {
        let share = Some(Share { index, count: 3, block: 4 });
        let mut loader = start(&Numbers::new(), LoaderConfig { share, ..config(2) }, None);
        let first = loader.next_batch(6).unwrap();
        let second = loader.next_batch(2).unwrap();
        let mut resumed =
            start(&Numbers::new(), LoaderConfig { share, ..config(2) }, Some(&first.position));
        assert_eq!(resumed.next_batch(2).unwrap().samples, second.samples);
        [first.samples, second.samples].concat()
    };
    let mut whole = start(&Numbers::new(), config(2), None);
    for index in 0..3 {
        let samples = shared(index);
        let first = 1 + 4 * index as u64;
        let expected: Vec<_> = (first..first + 4).chain(first + 12..first + 16).collect();
        assert_eq!(numbers(&samples), expected);
    }
    let alone = whole.next_batch(12).unwrap().samples;
    assert_eq!(shared(2)[..4], alone[8..]);
    let share = Some(Share { index: 3, count: 3, block: 4 });
    let started =
        Loader::start(Box::new(Numbers::new()), LoaderConfig { share, ..config(2) }, None);
    let error = started.unwrap_err().to_string();
    assert_eq!(error, "`share` is 3 of 3, expected an index below the number of processes");
}

#[test]
fn a_position_that_is_none_is_an_error() {
    for position in [json!({}), json!(3), json!({"source": "x", "num_after": 0, "num_tasks": 0})] {
        let started = Loader::start(Box::new(Numbers::new()), config(1), Some(&position));
        let error = started.unwrap_err().to_string();
        assert!(error.starts_with("the saved position does not belong to "), "{error}");
    }
}
