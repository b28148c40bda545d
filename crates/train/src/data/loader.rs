//! A pool of threads that turns tasks into samples, in the order of the tasks.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BadSample, Error, Sample, SampleRng, Source, Task};

/// How many tasks lie between two places that the source is asked for: a place may be long to
/// write, and the tasks after it are cheap to draw again.
const ANCHOR_EVERY: u64 = 64;
/// How many bad samples an error lists.
const NUM_REASONS: usize = 5;

/// How samples are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// The seed of the choices within samples.
    pub seed: u64,
    /// How many threads make samples.
    pub num_threads: usize,
    /// How many samples are made ahead of the batch that asks for them.
    pub prefetch: usize,
    /// How many bad samples may follow each other.
    pub max_bad_in_a_row: usize,
    /// Which of the tasks are done here; all of them if none is given.
    pub share: Option<Share>,
}

/// The tasks of one process where several read the same stream: of each `count * block` tasks the
/// `index`-th block.
///
/// With a block of a micro-batch, processes together read what one process reads alone that
/// accumulates as many micro-batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which process this is.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// How many tasks follow each other in one process.
    pub block: usize,
}

/// Makes samples on a pool of threads; dropping it stops them.
///
/// What it returns does not depend on the number of threads.
#[derive(Debug)]
pub struct Loader {
    config: LoaderConfig,
    /// Samples in order, made or still to be made; none once the loader is being dropped.
    pending: Option<Receiver<Pending>>,
    /// The last bad samples without a good one between them.
    bad_in_a_row: usize,
    last_bad: VecDeque<BadSample>,
    /// Where the last task that was used lies in the stream.
    mark: Mark,
    is_stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Some samples and where the stream is after them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The samples.
    pub samples: Vec<Sample>,
    /// How many bad ones were replaced.
    pub bad: usize,
    /// What [`Loader::start`] needs for the next batch to follow.
    pub position: Value,
}

/// A sample to come, or the error that ends the stream.
enum Pending {
    Sample { result: Receiver<Made>, mark: Mark },
    Failed(Error),
}

/// What a task gave.
type Made = Result<Sample, BadSample>;

/// A task for any of the threads.
struct Job {
    index: u64,
    task: Task,
    result: SyncSender<Made>,
}

/// A place between two tasks: a place of the source and how many tasks lie after it.
#[derive(Clone, Debug)]
struct Mark {
    source: Arc<Value>,
    num_after: u64,
    num_tasks: u64,
}

/// A place as it is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    source: Value,
    num_after: u64,
    num_tasks: u64,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { seed: 0, num_threads: 4, prefetch: 64, max_bad_in_a_row: 100, share: None }
    }
}

impl Share {
    /// Returns whether a task is one of this process.
    fn has(self, index: u64) -> bool {
        let block = self.block.max(1) as u64;
        index / block % self.count.max(1) as u64 == self.index as u64
    }
}

impl Mark {
    /// Reads a saved place.
    fn parse(position: &Value) -> Result<Self, Error> {
        let Position { source, num_after, num_tasks } =
            Position::deserialize(position).map_err(|error| Error::Position {
                stream: "the loader".to_owned(),
                reason: error.to_string(),
            })?;
        Ok(Self { source: Arc::new(source), num_after, num_tasks })
    }

    fn to_value(&self) -> Value {
        let position = Position {
            source: Value::clone(&self.source),
            num_after: self.num_after,
            num_tasks: self.num_tasks,
        };
        serde_json::to_value(position).expect("numbers and a value can be written as JSON")
    }
}

impl Loader {
    /// Starts to load from the start of a stream, or from the position of a batch.
    ///
    /// # Errors
    /// If the position is not one of the stream, a setting cannot work, or a thread cannot be
    /// started.
    pub fn start(
        mut source: Box<dyn Source>,
        config: LoaderConfig,
        position: Option<&Value>,
    ) -> Result<Self, Error> {
        if let Some(share) = config.share.filter(|share| share.index >= share.count) {
            return Err(Error::Setting {
                setting: "share",
                found: format!("{} of {}", share.index, share.count),
                expected: "an index below the number of processes",
            });
        }
        let mut num_tasks = 0;
        if let Some(position) = position {
            let mark = Mark::parse(position)?;
            source.seek(&mark.source)?;
            for _ in 0..mark.num_after {
                drop(source.next()?);
            }
            num_tasks = mark.num_tasks;
        }
        let mark = Mark { source: Arc::new(source.position()), num_after: 0, num_tasks };
        let (ahead, pending) = sync_channel(config.prefetch.max(1));
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let is_stopped = Arc::new(AtomicBool::new(false));
        let mut loader = Self {
            config,
            pending: Some(pending),
            bad_in_a_row: 0,
            last_bad: VecDeque::new(),
            mark: mark.clone(),
            is_stopped: Arc::clone(&is_stopped),
            threads: Vec::new(),
        };
        // A loader that cannot be started whole is dropped, which ends the threads it has.
        for _ in 0..config.num_threads.max(1) {
            let (queue, is_stopped) = (Arc::clone(&queue), Arc::clone(&is_stopped));
            loader.spawn("sample", move || work(&queue, &is_stopped, config.seed))?;
        }
        loader.spawn("stream", move || feed(source, config.share, mark, &ahead, &jobs))?;
        Ok(loader)
    }

    /// Starts a thread on which parallel loops run alone: the threads are as many as the samples
    /// that are made at once, and more would only get in each other's way.
    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let mut handle = None;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .spawn_handler(|thread| {
                let builder = std::thread::Builder::new().name(name.to_owned());
                handle = Some(builder.spawn(|| thread.run())?);
                Ok(())
            })
            .build()
            .map_err(|error| Error::StartThread { source: std::io::Error::other(error) })?;
        // Once the pool is dropped, the thread ends after its work.
        pool.spawn(run);
        self.threads.extend(handle);
        Ok(())
    }

    /// Returns the next `num_samples` samples; waits for them.
    ///
    /// # Errors
    /// If the stream cannot go on, or too many samples in a row are bad.
    pub fn next_batch(&mut self, num_samples: usize) -> Result<Batch, Error> {
        let mut samples = Vec::with_capacity(num_samples);
        let mut num_bad = 0;
        while samples.len() < num_samples {
            match self.next_made()? {
                Ok(sample) => {
                    self.bad_in_a_row = 0;
                    self.last_bad.clear();
                    samples.push(sample);
                }
                Err(bad) => {
                    num_bad += 1;
                    self.note(bad)?;
                }
            }
        }
        Ok(Batch { samples, bad: num_bad, position: self.position() })
    }

    /// Returns the position after the last batch.
    pub fn position(&self) -> Value {
        self.mark.to_value()
    }

    /// Waits for the next task to be done.
    fn next_made(&mut self) -> Result<Made, Error> {
        let pending = self.pending.as_ref().ok_or(Error::Stopped)?;
        match pending.recv().map_err(|_| Error::Stopped)? {
            Pending::Sample { result, mark } => {
                let made = result.recv().map_err(|_| Error::Stopped)?;
                self.mark = mark;
                Ok(made)
            }
            Pending::Failed(error) => Err(error),
        }
    }

    /// Counts a bad sample; an error if there were too many.
    fn note(&mut self, bad: BadSample) -> Result<(), Error> {
        tracing::warn!(key = bad.key, why = bad.why, "a sample is bad, another takes its place");
        self.bad_in_a_row += 1;
        if self.last_bad.len() == NUM_REASONS {
            self.last_bad.pop_front();
        }
        self.last_bad.push_back(bad);
        if self.bad_in_a_row > self.config.max_bad_in_a_row {
            return Err(Error::TooManyBad {
                num_bad: self.bad_in_a_row,
                last: self.last_bad.iter().cloned().collect(),
            });
        }
        Ok(())
    }
}

/// Returns which of the places of several processes in one stream is behind everything that any of
/// them has seen; of places that are not a loader's it is the last.
///
/// Processes replace bad samples by tasks of their own share, so the others may be some tasks back:
/// going on from here leaves those out and repeats none.
pub fn furthest(positions: &[Value]) -> Option<&Value> {
    positions.iter().max_by_key(|position| position["num_tasks"].as_u64())
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // The stream's thread notices that nobody listens, and the others that no job comes.
        self.pending = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended, which is all that is wanted.
            let _ = thread.join();
        }
    }
}

/// Draws tasks and hands them out until nobody wants more.
fn feed(
    mut source: Box<dyn Source>,
    share: Option<Share>,
    mut mark: Mark,
    ahead: &SyncSender<Pending>,
    jobs: &Sender<Job>,
) {
    loop {
        if mark.num_after == ANCHOR_EVERY {
            mark.source = Arc::new(source.position());
            mark.num_after = 0;
        }
        let drawn = catch_unwind(AssertUnwindSafe(|| source.next()));
        let task = match drawn.unwrap_or_else(|panic| Err(Error::Panic { why: message(&*panic) })) {
            Ok(task) => task,
            Err(error) => {
                // Nobody may be listening any more.
                let _ = ahead.send(Pending::Failed(error));
                return;
            }
        };
        let index = mark.num_tasks;
        mark.num_tasks += 1;
        mark.num_after += 1;
        if share.is_some_and(|share| !share.has(index)) {
            continue;
        }
        let (result, made) = sync_channel(1);
        let pending = Pending::Sample { result: made, mark: mark.clone() };
        if ahead.send(pending).is_err() || jobs.send(Job { index, task, result }).is_err() {
            return;
        }
    }
}

/// Does jobs until there are no more.
fn work(queue: &Mutex<Receiver<Job>>, is_stopped: &AtomicBool, seed: u64) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { index, task, result }) = next else { return };
        if is_stopped.load(Ordering::Relaxed) {
            continue;
        }
        let mut rng = SampleRng::new(seed, index);
        let made = catch_unwind(AssertUnwindSafe(|| task(&mut rng))).unwrap_or_else(|panic| {
            let why = format!("making it panicked: {}", message(&*panic));
            Err(BadSample::new(format!("task {index}"), why))
        });
        // Nobody may be waiting for it any more.
        let _ = result.send(made);
    }
}

/// Returns what a panic said.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
