//! Captioned pictures in `WebDataset` shards: tar files of `KEY.jpg` and `KEY.txt`.

mod members;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prompt::{Preprocessor, RgbImage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::members::RawSample;

use self::members::Members;
use super::rng::mix;
use super::shards::Shards;
use super::shuffle::{ShuffleBuffer, ShuffleConfig};
use super::{Augment, BadSample, CaptionKind, Encoder, Error, Sample, SampleRng, Source, Task};

/// Sets the choices about shards apart from those about samples, which have the same seed.
const SHARD_ORDER: u64 = 0x7368_6172_6473;
/// Sets the choices of the sample buffer apart.
const BUFFER: u64 = 0x6275_6666_6572;

/// How a raw sample becomes one to learn from.
pub type Make = dyn Fn(RawSample, &mut SampleRng) -> Result<Sample, BadSample> + Send + Sync;

/// How shards are streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebDatasetConfig {
    /// What the data set is called in logs and keys.
    pub name: String,
    /// The seed of the order.
    pub seed: u64,
    /// Whether each epoch has the shards in another order.
    pub shuffle_shards: bool,
    /// The buffer that shuffles samples.
    pub shuffle: ShuffleConfig,
    /// Whether shards are drawn with replacement, as many for an epoch as there are.
    pub resample: bool,
    /// Which part of the samples this stream has.
    pub part: Part,
}

/// One of several equal parts, for ranks and workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, counted from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

/// Captions are made of shards by this.
#[derive(Clone, Debug)]
pub struct CaptionMaker {
    /// Makes ids of the caption.
    pub encoder: Encoder,
    /// Makes pixel values of the picture.
    pub preprocessor: Preprocessor,
    /// The random view of the picture.
    pub augment: Augment,
    /// Where the caption is in the text.
    pub kind: CaptionKind,
}

/// An endless stream of the samples in shards.
///
/// A shard that is not there, or that breaks off, is counted and the stream goes on with the next.
pub struct WebDataset {
    shards: Shards,
    config: WebDatasetConfig,
    make: Arc<Make>,
    epoch: u64,
    /// The shards of this epoch and part.
    order: Vec<usize>,
    /// The place in the order of the shard that is read, or would be next.
    at: usize,
    open: Option<Members>,
    /// How many samples of that shard have been read.
    member: usize,
    buffer: ShuffleBuffer<Buffered>,
    /// Whether this epoch has had a sample.
    has_samples: bool,
    num_failed: Arc<AtomicU64>,
    last_failure: Option<String>,
}

/// A sample in the buffer, and where it is from.
#[derive(Debug)]
struct Buffered {
    at: usize,
    member: usize,
    raw: RawSample,
}

/// A place in the stream as it is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    num_shards: usize,
    seed: u64,
    part: [usize; 2],
    epoch: u64,
    at: usize,
    member: usize,
    num_drawn: u64,
    has_samples: bool,
    /// The place in the order and in its shard of every sample in the buffer.
    buffer: Vec<[usize; 2]>,
}

impl Default for WebDatasetConfig {
    fn default() -> Self {
        Self {
            name: "captions".to_owned(),
            seed: 0,
            shuffle_shards: true,
            shuffle: ShuffleConfig::default(),
            resample: false,
            part: Part::default(),
        }
    }
}

impl Default for Part {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl Part {
    /// Returns the part of one worker of one rank.
    pub fn of_worker(rank: usize, num_ranks: usize, worker: usize, num_workers: usize) -> Self {
        Self { index: rank * num_workers + worker, count: num_ranks * num_workers }
    }
}

impl CaptionMaker {
    /// Makes a sample: decodes the picture, takes a view of it, and encodes the caption.
    ///
    /// # Errors
    /// If the picture or the text is missing or cannot be used.
    pub fn make(&self, raw: RawSample, rng: &mut SampleRng) -> Result<Sample, BadSample> {
        let RawSample { key, image, text } = raw;
        let (Some(image), Some(text)) = (image.as_ref(), text.as_ref()) else {
            let why = if image.is_none() { "it has no image" } else { "it has no text" };
            return Err(BadSample::new(key, why));
        };
        let bad = |error: &dyn std::error::Error| BadSample::from_error(key.as_str(), error);
        // First what is cheap.
        let caption = self.kind.read(text).map_err(|error| bad(&error))?;
        let text = self.encoder.caption(&caption).map_err(|error| bad(&error))?;
        let image = RgbImage::decode(image).map_err(|error| bad(&error))?;
        let view = self.augment.choose(&image, &[], rng);
        Ok(Sample::new(&key, text, vec![view.pixels(&image, &self.preprocessor)]))
    }

    /// Returns this as a stream takes it.
    pub fn into_make(self) -> Arc<Make> {
        Arc::new(move |raw, rng| self.make(raw, rng))
    }
}

impl WebDataset {
    /// Starts at the first epoch.
    ///
    /// # Errors
    /// If the part is not one.
    pub fn new(shards: Shards, config: WebDatasetConfig, make: Arc<Make>) -> Result<Self, Error> {
        let Part { index, count } = config.part;
        if index >= count {
            return Err(Error::Setting {
                setting: "part",
                found: format!("{index} of {count}"),
                expected: "an index below the number of parts",
            });
        }
        let buffer = ShuffleBuffer::new(config.shuffle, 0);
        let mut dataset = Self {
            shards,
            config,
            make,
            epoch: 0,
            order: Vec::new(),
            at: 0,
            open: None,
            member: 0,
            buffer,
            has_samples: false,
            num_failed: Arc::default(),
            last_failure: None,
        };
        dataset.start_epoch(0);
        Ok(dataset)
    }

    /// Returns the number of shards that failed so far, counted on while the stream runs.
    pub fn num_failed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.num_failed)
    }

    /// Returns how many samples an epoch of all parts has, if `sizes.json` says it.
    pub fn num_samples(&self) -> Option<u64> {
        self.shards.num_samples()
    }

    /// Returns the current epoch, counted from 0.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn start_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.order = self.order_of(epoch);
        (self.at, self.member, self.open, self.has_samples) = (0, 0, None, false);
        let part = self.config.part.index as u64;
        let seed = mix(mix(self.config.seed ^ BUFFER, part), epoch);
        self.buffer = ShuffleBuffer::new(self.config.shuffle, seed);
    }

    /// Returns the shards of an epoch that this part reads, in order.
    fn order_of(&self, epoch: u64) -> Vec<usize> {
        let Part { index, count } = self.config.part;
        let seed = self.config.seed ^ SHARD_ORDER;
        let len = self.shards.len();
        if self.config.resample {
            let mut rng = SampleRng::new(mix(seed, index as u64), epoch);
            return (0..len.div_ceil(count)).map(|_| rng.below(len)).collect();
        }
        let mut order: Vec<_> = (0..len).collect();
        if self.config.shuffle_shards {
            // The same order for every part, so that the parts are disjoint.
            SampleRng::new(seed, epoch).shuffle(&mut order);
        }
        if self.splits_samples() {
            return order;
        }
        order.into_iter().skip(index).step_by(count).collect()
    }

    /// Returns whether every part reads all shards and takes some samples of each: where there are
    /// too few to give every part its own.
    fn splits_samples(&self) -> bool {
        !self.config.resample && self.shards.len() < self.config.part.count
    }

    /// Returns whether a sample of a shard is of this part.
    fn is_ours(&self, at: usize, member: usize) -> bool {
        let Part { index, count } = self.config.part;
        !self.splits_samples() || (at + member) % count == index
    }

    /// Reads the next sample of this part; none at the end of the epoch.
    fn read(&mut self) -> Option<Buffered> {
        while let Some(shard) = self.order.get(self.at).copied() {
            let is_ours = self.is_ours(self.at, self.member);
            let found = match &mut self.open {
                Some(open) => open.next(is_ours),
                None => match self.shards.open(shard) {
                    Ok(reader) => {
                        self.open = Some(Members::new(reader));
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match found {
                Ok(Some(raw)) => {
                    self.member += 1;
                    if is_ours {
                        return Some(Buffered { at: self.at, member: self.member - 1, raw });
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => self.fail(shard, &error),
            }
            (self.at, self.member, self.open) = (self.at + 1, 0, None);
        }
        None
    }

    /// Counts a shard that cannot be read, or not further.
    fn fail(&mut self, shard: usize, error: &io::Error) {
        let location = &self.shards.locations()[shard];
        let reason = BadSample::from_error(location.to_string(), error).to_string();
        tracing::warn!(after = self.member, "shard {reason}, going on with the next");
        self.num_failed.fetch_add(1, Ordering::Relaxed);
        self.last_failure = Some(reason);
    }

    /// Reads again what was in the buffer.
    fn read_again(&mut self, places: &[[usize; 2]]) -> Vec<Buffered> {
        let mut sorted = places.to_vec();
        sorted.sort_unstable();
        let mut found = BTreeMap::new();
        for places in sorted.chunk_by(|a, b| a[0] == b[0]) {
            let at = places[0][0];
            let shard = self.order[at];
            if let Err(error) = self.read_places(at, places, &mut found) {
                self.fail(shard, &error);
            }
        }
        // In the order they had, which decides what leaves next.
        let restored = places.iter().filter_map(|place| {
            let raw = found.remove(place)?;
            Some(Buffered { at: place[0], member: place[1], raw })
        });
        restored.collect()
    }

    /// Reads the samples at some places of one shard.
    fn read_places(
        &self,
        at: usize,
        places: &[[usize; 2]],
        found: &mut BTreeMap<[usize; 2], RawSample>,
    ) -> io::Result<()> {
        let mut members = Members::new(self.shards.open(self.order[at])?);
        let mut next = 0;
        for [_, member] in places {
            while next < *member {
                members.next(false)?;
                next += 1;
            }
            let Some(raw) = members.next(true)? else { break };
            next += 1;
            found.insert([at, *member], raw);
        }
        Ok(())
    }

    fn task(&self, buffered: Buffered) -> Task {
        let make = Arc::clone(&self.make);
        let mut raw = buffered.raw;
        let shard = self.shards.locations()[self.order[buffered.at]].name();
        raw.key = format!("{}/{shard}/{}", self.config.name, raw.key);
        Box::new(move |rng| make(raw, rng))
    }
}

impl Source for WebDataset {
    fn next(&mut self) -> Result<Task, Error> {
        loop {
            let mut num_new = 0;
            while self.buffer.wants(num_new)
                && let Some(buffered) = self.read()
            {
                self.has_samples = true;
                self.buffer.push(buffered);
                num_new += 1;
            }
            if let Some(buffered) = self.buffer.draw() {
                return Ok(self.task(buffered));
            }
            if !self.has_samples {
                let stream = format!("data set `{}`", self.config.name);
                return Err(match self.last_failure.take() {
                    Some(last) => Error::AllShards { stream, last },
                    None => Error::Empty { stream },
                });
            }
            self.start_epoch(self.epoch + 1);
        }
    }

    fn position(&self) -> Value {
        let items = self.buffer.items().iter();
        let position = Position {
            num_shards: self.shards.len(),
            seed: self.config.seed,
            part: [self.config.part.index, self.config.part.count],
            epoch: self.epoch,
            at: self.at,
            member: self.member,
            num_drawn: self.buffer.num_drawn(),
            has_samples: self.has_samples,
            buffer: items.map(|buffered| [buffered.at, buffered.member]).collect(),
        };
        serde_json::to_value(position).expect("numbers can be written as JSON")
    }

    fn seek(&mut self, position: &Value) -> Result<(), Error> {
        let wrong = |reason: String| Error::Position {
            stream: format!("data set `{}`", self.config.name),
            reason,
        };
        let position = Position::deserialize(position).map_err(|error| wrong(error.to_string()))?;
        let Part { index, count } = self.config.part;
        let checks = [
            ("shards", position.num_shards as u64, self.shards.len() as u64),
            ("as its seed", position.seed, self.config.seed),
            ("as its part", position.part[0] as u64, index as u64),
            ("parts", position.part[1] as u64, count as u64),
        ];
        if let Some((what, found, expected)) =
            checks.into_iter().find(|(_, found, expected)| found != expected)
        {
            return Err(wrong(format!("it has {found} {what}, expected {expected}")));
        }
        let len = self.order_of(position.epoch).len();
        let last = position.buffer.iter().map(|[at, _]| *at).max().unwrap_or(0);
        if position.at > len || last >= len.max(1) {
            return Err(wrong(format!("it is at shard {} of {len}", position.at.max(last))));
        }
        self.start_epoch(position.epoch);
        let items = self.read_again(&position.buffer);
        self.buffer.restore(items, position.num_drawn);
        (self.at, self.has_samples) = (position.at, position.has_samples);
        self.pass_over(position.member);
        Ok(())
    }
}

impl WebDataset {
    /// Opens the current shard and passes over its first samples.
    fn pass_over(&mut self, num_samples: usize) {
        if num_samples == 0 {
            return;
        }
        let Some(shard) = self.order.get(self.at).copied() else { return };
        let opened = self.shards.open(shard).and_then(|reader| {
            let mut members = Members::new(reader);
            for _ in 0..num_samples {
                members.next(false)?;
            }
            Ok(members)
        });
        match opened {
            Ok(members) => (self.open, self.member) = (Some(members), num_samples),
            Err(error) => {
                self.fail(shard, &error);
                self.at += 1;
            }
        }
    }
}

impl std::fmt::Debug for WebDataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebDataset")
            .field("config", &self.config)
            .field("num_shards", &self.shards.len())
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
