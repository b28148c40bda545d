//! Which questions are asked, in which order, and what becomes of the answers.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Instant;

use prompt::RgbImage;

use super::jpeg;
use super::store::{Prediction, Seconds, Store};
use crate::message::{Form, MessageOptions, Part, form, message, spell};
use crate::{Dataset, Error, Family, ImageRef, Question};

/// A part of a benchmark, for one of several processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, counted from 1.
    pub number: usize,
    /// How many parts there are.
    pub total: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { number: 1, total: 1 }
    }
}

impl Shard {
    pub(super) fn file_name(self, stem: &str) -> String {
        if self.total == 1 {
            format!("{stem}.jsonl")
        } else {
            format!("{stem}.{}-of-{}.jsonl", self.number, self.total)
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.total)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (number, total) = text.split_once('/')?;
            let (number, total) = (number.parse().ok()?, total.parse().ok()?);
            (1..=total).contains(&number).then_some(Self { number, total })
        };
        parse().ok_or_else(|| "expected NUMBER/TOTAL, such as 1/4".to_owned())
    }
}

/// Which questions are asked, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// The most questions, none for all of them.
    pub limit: Option<usize>,
    /// Which part of them.
    pub shard: Shard,
    /// How they are asked.
    pub message: MessageOptions,
    /// The longest answer, none for the authors' limit.
    pub max_new_tokens: Option<usize>,
    /// Whether images are compressed once more, as the paper's code did.
    pub jpeg: bool,
}

/// A question that is asked.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which question of the dataset.
    pub question: usize,
    /// What is asked.
    pub parts: Vec<Part>,
    /// How a prompt is made of it.
    pub form: Form,
    /// The longest answer.
    pub max_new_tokens: usize,
    /// A name that questions about the same images share.
    pub image_key: String,
    /// Whether images are turned as their metadata says; the authors' code leaves them as they are
    /// stored.
    pub upright: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The text; the reason there is none.
    pub answer: Result<String, String>,
    /// Why it ended.
    pub finish: String,
    /// How many tokens were read.
    pub prompt_tokens: usize,
    /// How many tokens were written.
    pub new_tokens: usize,
    /// How long it took.
    pub seconds: Seconds,
}

impl Reply {
    /// Returns an empty answer.
    pub fn empty() -> Self {
        Self {
            answer: Ok(String::new()),
            finish: String::new(),
            prompt_tokens: 0,
            new_tokens: 0,
            seconds: Seconds::default(),
        }
    }
}

/// Reads the images of a job.
pub type Images<'i> = dyn Fn(&Job) -> Result<Vec<Vec<u8>>, Error> + Sync + 'i;
/// Takes the answer to a job, by the job's place in the list.
pub type OnReply<'o> = dyn FnMut(usize, Reply) -> ControlFlow<()> + 'o;

/// What answers questions.
pub trait Answerer {
    /// Answers every job, in whatever order, unless `on_reply` wants no more.
    ///
    /// # Errors
    /// If the model cannot go on; a single answer that fails is a reply that says so.
    fn answer(
        &mut self,
        jobs: &[Job],
        images: &Images<'_>,
        on_reply: &mut OnReply<'_>,
    ) -> Result<(), Error>;
}

/// Watches a run.
pub trait Observer {
    /// So many questions are to be asked, so many are answered already.
    fn begin(&self, benchmark: &str, total: usize, answered: usize);
    /// A question was answered.
    fn advance(&self, prediction: &Prediction);
    /// Whether the user wants to stop.
    fn is_interrupted(&self) -> bool;
}

/// What asking came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asked {
    /// How many questions were asked now.
    pub asked: usize,
    /// How many were answered before.
    pub known: usize,
    /// How many failed.
    pub failed: usize,
    /// How long it took.
    pub seconds: f64,
    /// How many tokens were written.
    pub new_tokens: usize,
}

/// Asks what is selected of a benchmark and not answered yet.
///
/// # Errors
/// If the model or the files fail, or the user interrupts.
pub fn ask(
    dataset: &Dataset,
    selection: &Selection,
    store: &mut Store,
    answerer: &mut dyn Answerer,
    observer: &dyn Observer,
) -> Result<Asked, Error> {
    let answered = store.answered()?;
    let selected = select(dataset, selection);
    let open: Vec<usize> = selected
        .iter()
        .copied()
        .filter(|at| !answered.contains(&dataset.questions[*at].index))
        .collect();
    let known = selected.len() - open.len();
    observer.begin(&dataset.name, selected.len(), known);
    let jobs = plan(dataset, selection, &open);
    let mut asked = Asked { known, ..Asked::default() };
    let start = Instant::now();
    let mut failure = None;
    let images = |job: &Job| read_images(dataset, job, selection.jpeg);
    let mut on_reply = |at: usize, reply: Reply| {
        let prediction = prediction(dataset, &jobs[at], reply);
        asked.asked += 1;
        asked.failed += usize::from(prediction.error.is_some());
        asked.new_tokens += prediction.new_tokens;
        if let Err(error) = store.append(&prediction) {
            failure = Some(error);
            return ControlFlow::Break(());
        }
        observer.advance(&prediction);
        if observer.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    answerer.answer(&jobs, &images, &mut on_reply)?;
    if let Some(error) = failure {
        return Err(error);
    }
    asked.seconds = start.elapsed().as_secs_f64();
    if observer.is_interrupted() && asked.asked < jobs.len() {
        return Err(Error::Interrupted);
    }
    Ok(asked)
}

fn prediction(dataset: &Dataset, job: &Job, reply: Reply) -> Prediction {
    let (answer, error) = match reply.answer {
        Ok(answer) => (answer, None),
        Err(problem) => {
            let question = &dataset.questions[job.question];
            let place = format!("row {} (line {})", question.number, question.place.line);
            (String::new(), Some(format!("{place}: {problem}")))
        }
    };
    Prediction {
        index: dataset.questions[job.question].index.clone(),
        prompt: spell(&job.parts),
        answer,
        finish: reply.finish,
        prompt_tokens: reply.prompt_tokens,
        new_tokens: reply.new_tokens,
        seconds: reply.seconds,
        error,
    }
}

/// Returns how many questions are selected.
pub fn num_selected(dataset: &Dataset, selection: &Selection) -> usize {
    select(dataset, selection).len()
}

/// Returns which questions are asked: the first ones up to the limit, and of those every n-th. Of
/// `MMBench` the limit counts questions without their rotations, of CV-Bench those of either part.
fn select(dataset: &Dataset, selection: &Selection) -> Vec<usize> {
    let limit = selection.limit.unwrap_or(usize::MAX).min(dataset.questions.len());
    let Shard { number, total } = selection.shard;
    if dataset.family == Family::MmBench {
        // A limit cuts no question off from its rotations.
        let mut bases: HashMap<u64, usize> = HashMap::new();
        let base = |question: &Question| question.index.parse::<u64>().unwrap_or(0) % 1_000_000;
        for base in dataset.questions.iter().map(base) {
            let place = bases.len();
            if place < limit {
                bases.entry(base).or_insert(place);
            }
        }
        let is_ours = |at: &usize| {
            let place = bases.get(&base(&dataset.questions[*at]));
            place.is_some_and(|place| place % total == number - 1)
        };
        return (0..dataset.questions.len()).filter(is_ours).collect();
    }
    if dataset.family == Family::CvBench {
        // Its parts in the plane and in space are two columns: a limit leaves both.
        let mut counts: HashMap<Option<&str>, usize> = HashMap::new();
        let mut place = |at: &usize| {
            let count = counts.entry(dataset.questions[*at].row.get("type")).or_default();
            *count += 1;
            *count
        };
        let asked = (0..dataset.questions.len()).filter(|at| place(at) <= limit);
        return asked.filter(|at| at % total == number - 1).collect();
    }
    (0..limit).filter(|at| at % total == number - 1).collect()
}

/// Returns the jobs: those about the same images side by side, those with the longest texts first,
/// so that the end of a run has short ones to fill the batch with. Images of parquet files are
/// looked at in the order of the file, which has no other way to them.
fn plan(dataset: &Dataset, selection: &Selection, open: &[usize]) -> Vec<Job> {
    let job = |at: &usize| {
        let question = &dataset.questions[*at];
        let parts =
            message(dataset.family, question, dataset.num_images(question), selection.message);
        let limit = selection.max_new_tokens;
        Job {
            question: *at,
            parts,
            form: form(dataset.family),
            max_new_tokens: limit.unwrap_or_else(|| dataset.family.max_new_tokens()),
            image_key: dataset.image_key(question),
            upright: !selection.jpeg || dataset.family == Family::CvBench,
        }
    };
    let mut jobs: Vec<Job> = open.iter().map(job).collect();
    let length = |job: &Job| -> usize {
        let text = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Image(_) => 600,
        };
        job.parts.iter().map(text).sum()
    };
    let mut longest: HashMap<String, usize> = HashMap::new();
    for job in &jobs {
        let known = longest.entry(job.image_key.clone()).or_default();
        *known = length(job).max(*known);
    }
    let order = |job: &Job| {
        let place = match dataset.questions[job.question].image {
            Some(ImageRef::Parquet { file, row }) => Some((file, row)),
            _ => None,
        };
        let group = longest.get(&job.image_key).copied().unwrap_or_default();
        (place, Reverse(group), job.image_key.clone(), Reverse(length(job)), job.question)
    };
    jobs.sort_by_cached_key(order);
    jobs
}

/// Returns the image files that a job shows, in the order of its parts.
fn read_images(dataset: &Dataset, job: &Job, jpeg: bool) -> Result<Vec<Vec<u8>>, Error> {
    let question = &dataset.questions[job.question];
    let files = dataset.images(question)?;
    let mut shown = Vec::new();
    for part in &job.parts {
        let Part::Image(number) = part else { continue };
        let Some(file) = files.get(*number) else {
            return Err(Error::Image {
                dataset: dataset.name.clone(),
                index: question.index.clone(),
                problem: format!("there are {} images, image {} is shown", files.len(), number + 1),
            });
        };
        let again = jpeg && dataset.is_recompressed(question, *number);
        shown.push(if again { recompress(file) } else { file.clone() });
    }
    Ok(shown)
}

/// Returns an image compressed once more; one that cannot be read is left to who reads it next.
fn recompress(file: &[u8]) -> Vec<u8> {
    let image = RgbImage::decode_as_stored(file).ok();
    image.as_ref().and_then(jpeg::encode).unwrap_or_else(|| file.to_vec())
}
