//! A thread that owns the model and answers the requests of others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use candle_core::Tensor;
use model::Aki;
use sequence::{AttentionPolicy, Layout, TokenId};

use crate::features::Features;
use crate::lens::{Lens, Word, look};
use crate::{
    Batch, BatchLimits, CancelToken, Constraint, Error, Event, Generated, Prompt, Request,
    RequestId, Sampling, TokenLogprobs,
};

/// How much a [`Scheduler`] takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// How many requests are answered at once.
    pub max_running: usize,
    /// How many more may wait.
    pub max_waiting: usize,
    /// The memory for keys and values, in bytes.
    pub max_cache_bytes: usize,
    /// The memory for features of images, in bytes.
    pub max_feature_bytes: usize,
    /// About how many rows of a prompt are read between two tokens of the others.
    pub prefill_rows: usize,
}

/// An image, by its content.
#[derive(Clone, Debug)]
pub struct Image {
    /// What tells it from other images: a hash of its content.
    pub key: [u8; 32],
    /// The pixel values that the model reads, `3 * size * size`.
    pub pixels: Arc<Vec<f32>>,
}

/// What a [`Scheduler`] is asked: a [`Request`] whose images have not been seen yet.
#[derive(Clone, Debug)]
pub struct Job {
    /// The token ids, one `<image>` id for each image.
    pub ids: Vec<TokenId>,
    /// The layout, vision tokens expanded.
    pub layout: Layout,
    /// The images, in order.
    pub images: Vec<Image>,
    /// Who may read whom.
    pub policy: AttentionPolicy,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// The tokens that end the reply.
    pub stop: Vec<TokenId>,
    /// The longest reply, its stop token counted.
    pub max_new_tokens: usize,
    /// How many of the most likely tokens to report, as in [`Request`].
    pub top_logprobs: Option<usize>,
    /// What is added to the logits of some tokens before one is chosen.
    pub bias: Vec<(TokenId, f32)>,
    /// What the tokens are held to, if anything.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Whose job it is: those of one client share its turns with those of the others.
    pub client: u64,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Stops the reply from another thread.
    pub cancel: CancelToken,
}

/// What happens to a job.
#[derive(Debug)]
pub enum Progress {
    /// A new token.
    Token {
        /// Which.
        id: TokenId,
        /// How likely it was, if the job asked for it.
        logprobs: Option<TokenLogprobs>,
    },
    /// The reply is complete; nothing follows.
    Finished(Generated),
    /// There is no reply; nothing follows.
    Failed(Error),
}

/// What a [`Scheduler`] has to do and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that are being answered.
    pub running: usize,
    /// Jobs that have been taken and not begun.
    pub waiting: usize,
    /// Bytes set apart for keys and values.
    pub cache_bytes: usize,
    /// Bytes of the features of images.
    pub feature_bytes: usize,
    /// Images whose features were at hand.
    pub feature_hits: usize,
    /// Images that had to be seen.
    pub feature_misses: usize,
}

/// Who is told.
type Listener = Box<dyn FnMut(Progress) + Send>;

/// A job and those of its images' features that are there.
struct Arriving {
    job: Job,
    listener: ListenerBox,
    features: Vec<Tensor>,
}

/// What has come and is not in the batch yet.
enum Arrival {
    Reply(Arriving),
    Look(Job, Vec<Word>, ViewerBox),
}

impl Arrival {
    fn job(&self) -> &Job {
        match self {
            Self::Reply(Arriving { job, .. }) | Self::Look(job, _, _) => job,
        }
    }

    /// Returns why nobody needs an answer any more, if that is so.
    fn over(&self) -> Option<Error> {
        let job = self.job();
        if job.cancel.is_cancelled() {
            return Some(Error::Stopped);
        }
        let late = job.deadline.is_some_and(|deadline| deadline <= Instant::now());
        late.then_some(Error::DeadlineExceeded)
    }
}

/// What is shared with the thread.
#[derive(Debug, Default)]
struct Shared {
    /// Whether the thread has ended, by itself or by a panic.
    ended: AtomicBool,
    outstanding: AtomicUsize,
    counts: Mutex<Counts>,
}

/// Says that the thread has ended when it is dropped, which a panic does too.
struct EndTeller(Arc<Shared>);

impl Drop for EndTeller {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

/// Tells whether a [`Scheduler`]'s thread is there, wherever the scheduler is.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// Returns whether the thread is there: it ends early only by a fault of ours.
    pub fn is_alive(&self) -> bool {
        !self.0.ended.load(Ordering::Acquire)
    }
}

/// A thread that owns the model and answers the requests of others, several at once.
///
/// Every job is told about its tokens as they come. At most one new image is looked at between two
/// tokens of the replies that run, and jobs without new images do not wait for those that have some.
///
/// Dropping the scheduler ends the thread when the jobs that it has are done; cancel them for a
/// quick end.
#[derive(Debug)]
pub struct Scheduler {
    sender: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    limit: usize,
}

/// What the thread is sent.
#[derive(Debug)]
enum Work {
    Reply(Job, ListenerBox),
    Look(Job, Vec<Word>, ViewerBox),
}

/// Who is told where words look.
struct ViewerBox(Box<dyn FnOnce(Result<Lens, Error>) + Send>);

impl std::fmt::Debug for ViewerBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Viewer")
    }
}

/// A listener that can be in structures that print themselves.
struct ListenerBox(Listener);

impl std::fmt::Debug for ListenerBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Scheduler {
    /// Starts a thread with a model.
    ///
    /// # Errors
    /// If there is no memory for a cache, or no thread.
    pub fn start(aki: Aki, options: SchedulerOptions) -> Result<Self, Error> {
        let per_position = aki.new_cache(1)?.num_bytes().max(1);
        let limits = BatchLimits {
            max_running: options.max_running,
            max_positions: options.max_cache_bytes / per_position,
            prefill_rows: options.prefill_rows,
        };
        let (sender, receiver) = channel();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let end = EndTeller(Arc::clone(&shared));
        let max_feature_bytes = options.max_feature_bytes;
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                let _end = end;
                let worker = Worker {
                    aki: &aki,
                    batch: Batch::within(&aki, limits),
                    features: Features::new(max_feature_bytes),
                    arriving: VecDeque::new(),
                    jobs: BTreeMap::new(),
                    shared: &theirs,
                    per_position,
                };
                worker.run(&receiver);
            })
            .map_err(|source| Error::Thread { source })?;
        let limit = options.max_running.max(1).saturating_add(options.max_waiting);
        Ok(Self { sender: Some(sender), thread: Some(thread), shared, limit })
    }

    /// Hands a job over; `listener` is called on the engine's thread and must not wait.
    ///
    /// # Errors
    /// If too many jobs are there already, or the thread has ended.
    pub fn submit(
        &self,
        job: Job,
        listener: impl FnMut(Progress) + Send + 'static,
    ) -> Result<(), Error> {
        self.send(Work::Reply(job, ListenerBox(Box::new(listener))))
    }

    /// Asks where `words` of a job's sequence look, the reply included; nothing is generated.
    /// `viewer` is called on the engine's thread and must not wait.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn look(
        &self,
        job: Job,
        words: Vec<Word>,
        viewer: impl FnOnce(Result<Lens, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        self.send(Work::Look(job, words, ViewerBox(Box::new(viewer))))
    }

    fn send(&self, work: Work) -> Result<(), Error> {
        let sender = self.sender.as_ref().ok_or(Error::Stopped)?;
        let taken =
            self.shared.outstanding.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < self.limit).then_some(n + 1)
            });
        if taken.is_err() {
            return Err(Error::QueueFull { limit: self.limit });
        }
        sender.send(work).map_err(|_| {
            self.shared.outstanding.fetch_sub(1, Ordering::AcqRel);
            Error::Stopped
        })
    }

    /// Returns what there is to do.
    pub fn counts(&self) -> Counts {
        let mut counts = *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.waiting = self.outstanding().saturating_sub(counts.running);
        counts
    }

    /// Returns whether the thread is there: it ends early only by a fault of ours.
    pub fn is_alive(&self) -> bool {
        self.watch().is_alive()
    }

    /// Returns what tells whether the thread is there when the scheduler itself is given away.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Returns how many jobs are not done.
    pub fn outstanding(&self) -> usize {
        self.shared.outstanding.load(Ordering::Acquire)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// A job that the batch has.
struct Taken {
    listener: ListenerBox,
    deadline: Option<Instant>,
    /// Whether its time is over, and it only waits for the batch to say so.
    late: bool,
}

/// What runs on the thread.
struct Worker<'a> {
    aki: &'a Aki,
    batch: Batch<'a>,
    features: Features,
    arriving: VecDeque<Arrival>,
    jobs: BTreeMap<RequestId, Taken>,
    shared: &'a Shared,
    per_position: usize,
}

impl Worker<'_> {
    fn run(mut self, receiver: &Receiver<Work>) {
        loop {
            self.publish();
            if self.batch.is_idle() && self.arriving.is_empty() {
                let Ok(work) = receiver.recv() else { return };
                self.arrive(work);
            }
            loop {
                match receiver.try_recv() {
                    Ok(work) => self.arrive(work),
                    Err(TryRecvError::Disconnected)
                        if self.batch.is_idle() && self.arriving.is_empty() =>
                    {
                        return;
                    }
                    Err(TryRecvError::Disconnected | TryRecvError::Empty) => break,
                }
            }
            self.turn_away();
            self.admit();
            self.prepare();
            // Who is told something can see what has been done for it.
            self.publish();
            self.expire();
            self.step();
        }
    }

    fn arrive(&mut self, work: Work) {
        self.arriving.push_back(match work {
            Work::Reply(job, listener) => {
                Arrival::Reply(Arriving { job, listener, features: Vec::new() })
            }
            Work::Look(job, words, viewer) => Arrival::Look(job, words, viewer),
        });
    }

    /// Forgets what nobody needs any more.
    fn turn_away(&mut self) {
        for arrival in std::mem::take(&mut self.arriving) {
            match (arrival.over(), arrival) {
                (None, arrival) => self.arriving.push_back(arrival),
                (Some(error), Arrival::Reply(Arriving { listener, .. })) => {
                    self.refuse(listener, error);
                }
                (Some(error), Arrival::Look(_, _, viewer)) => self.show(viewer, Err(error)),
            }
        }
    }

    fn refuse(&mut self, mut listener: ListenerBox, error: Error) {
        self.shared.outstanding.fetch_sub(1, Ordering::AcqRel);
        (listener.0)(Progress::Failed(error));
    }

    fn show(&mut self, viewer: ViewerBox, lens: Result<Lens, Error>) {
        self.shared.outstanding.fetch_sub(1, Ordering::AcqRel);
        (viewer.0)(lens);
    }

    /// Gives the batch every job whose images are known.
    fn admit(&mut self) {
        for arrival in std::mem::take(&mut self.arriving) {
            let mut arriving = match arrival {
                Arrival::Reply(arriving) => arriving,
                look @ Arrival::Look(..) => {
                    self.arriving.push_back(look);
                    continue;
                }
            };
            while let Some(image) = arriving.job.images.get(arriving.features.len()) {
                let Some(features) = self.features.known(image) else { break };
                arriving.features.push(features);
            }
            if arriving.features.len() < arriving.job.images.len() {
                self.arriving.push_back(Arrival::Reply(arriving));
            } else {
                self.take(arriving);
            }
        }
    }

    /// Looks at one image, or on behalf of one that asks where the model looks: the oldest.
    fn prepare(&mut self) {
        match self.arriving.pop_front() {
            None => {}
            Some(Arrival::Look(job, words, viewer)) => {
                let lens = look(self.aki, &job, &words);
                self.show(viewer, lens);
            }
            Some(Arrival::Reply(mut arriving)) => {
                let next = arriving.job.images.get(arriving.features.len());
                match next.map(|image| self.features.see(self.aki, image)).transpose() {
                    Err(error) => return self.refuse(arriving.listener, error),
                    Ok(features) => arriving.features.extend(features),
                }
                if arriving.features.len() < arriving.job.images.len() {
                    self.arriving.push_front(Arrival::Reply(arriving));
                } else {
                    self.take(arriving);
                }
            }
        }
    }

    /// Gives a job to the batch.
    fn take(&mut self, Arriving { job, listener, features }: Arriving) {
        let deadline = job.deadline;
        let request = Request {
            prompt: Prompt { ids: job.ids, layout: job.layout, features, policy: job.policy },
            sampling: job.sampling,
            stop: job.stop,
            max_new_tokens: job.max_new_tokens,
            top_logprobs: job.top_logprobs,
            bias: job.bias,
            constraint: job.constraint,
            client: job.client,
            cancel: job.cancel,
        };
        match self.batch.add(request) {
            Ok(id) => {
                self.jobs.insert(id, Taken { listener, deadline, late: false });
            }
            Err(error) => self.refuse(listener, error),
        }
    }

    /// Cancels what is not done in its time.
    fn expire(&mut self) {
        let now = Instant::now();
        for (id, job) in &mut self.jobs {
            if !job.late && job.deadline.is_some_and(|deadline| deadline <= now) {
                job.late = true;
                self.batch.cancel(*id);
            }
        }
    }

    fn step(&mut self) {
        match self.batch.step() {
            Ok(events) => events.into_iter().for_each(|event| self.tell(event)),
            Err(error) => self.fail(&error),
        }
    }

    fn tell(&mut self, event: Event) {
        let (request, progress) = match event {
            Event::Token { request, id, logprobs } => (request, Progress::Token { id, logprobs }),
            Event::Finished { request, reply } => (request, Progress::Finished(reply)),
            Event::Failed { request, error } => (request, Progress::Failed(error)),
        };
        if let Progress::Token { .. } = progress {
            if let Some(job) = self.jobs.get_mut(&request) {
                (job.listener.0)(progress);
            }
        } else if let Some(mut job) = self.jobs.remove(&request) {
            self.shared.outstanding.fetch_sub(1, Ordering::AcqRel);
            (job.listener.0)(if job.late {
                Progress::Failed(Error::DeadlineExceeded)
            } else {
                progress
            });
        }
    }

    /// Ends every job after a step that could not be computed: which of them is at fault is not
    /// known, and those that wait would only meet the same.
    fn fail(&mut self, error: &Error) {
        let source = candle_core::Error::Msg(error.to_string());
        let message = source.to_string();
        for (id, mut job) in std::mem::take(&mut self.jobs) {
            self.batch.cancel(id);
            self.shared.outstanding.fetch_sub(1, Ordering::AcqRel);
            let source = candle_core::Error::Msg(message.clone());
            (job.listener.0)(Progress::Failed(Error::Tensor { source }));
        }
    }

    fn publish(&self) {
        let mut counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.running = self.batch.num_running();
        counts.cache_bytes = self.batch.num_positions() * self.per_position;
        counts.feature_bytes = self.features.num_bytes;
        counts.feature_hits = self.features.hits;
        counts.feature_misses = self.features.misses;
    }
}
