//! A model of ours that answers benchmarks: many questions at once, images looked at once and made
//! ready while others are answered.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Instant;

use engine::{Batch, CancelToken, Event, FinishReason, Generated, Prompt, RequestId, Sampling};
use eval::run::{Answerer, Images, Job, OnReply, Reply, Seconds};
use eval::{Error, Form, Part};
use model::Tensor;
use prompt::{ChatTemplate, Preprocessor, RgbImage, layout_of};
use sequence::AttentionPolicy;

use super::ahead::{Ahead, Ready, StopAtEnd};

use crate::args::EvalArgs;
use crate::runtime::Runtime;

/// How many images' vision tokens are kept; questions about one image come one after the other.
const KEPT_IMAGES: usize = 64;

/// Answers with a loaded model.
pub(super) struct ModelAnswerer<'r> {
    runtime: &'r Runtime,
    policy: AttentionPolicy,
    batch: usize,
    cancel: CancelToken,
    /// The vision tokens of images that were seen last, by the key of a question's images and the
    /// image's place.
    features: HashMap<(String, usize), Tensor>,
    seen: VecDeque<(String, usize)>,
}

/// The jobs that are answered, and their images.
#[derive(Clone, Copy)]
struct Asked<'a> {
    jobs: &'a [Job],
    ahead: &'a Ahead<'a>,
    prepare: &'a (dyn Fn(&Job) -> Ready + Sync),
}

/// A question under way.
struct Running {
    at: usize,
    image_seconds: f64,
}

impl<'r> ModelAnswerer<'r> {
    pub(super) fn new(runtime: &'r Runtime, args: &EvalArgs, cancel: CancelToken) -> Self {
        Self {
            runtime,
            policy: args.policy.attention,
            batch: args.batch.max(1),
            cancel,
            features: HashMap::new(),
            seen: VecDeque::new(),
        }
    }

    /// Returns the vision tokens of a job's images; the inner error is the images' own.
    fn see(&mut self, asked: Asked<'_>, at: usize) -> Result<Result<Vec<Tensor>, String>, Error> {
        let job = &asked.jobs[at];
        let numbers = numbers(job);
        let key = |number: usize| (job.image_key.clone(), number);
        if numbers.iter().any(|number| !self.features.contains_key(&key(*number))) {
            let ready = match asked.ahead.take(at) {
                Some(ready) => ready?,
                None => (asked.prepare)(job)?,
            };
            let images = match ready {
                Ok(images) => images,
                Err(problem) => return Ok(Err(problem)),
            };
            for (number, values) in images {
                if self.features.contains_key(&key(number)) {
                    continue;
                }
                match self.runtime.see_values(values) {
                    Ok(features) => self.keep(key(number), features),
                    Err(error) => return Ok(Err(format!("{error:#}"))),
                }
            }
        }
        let found = numbers.iter().filter_map(|number| self.features.get(&key(*number)).cloned());
        Ok(Ok(found.collect()))
    }

    fn keep(&mut self, key: (String, usize), features: Tensor) {
        self.features.insert(key.clone(), features);
        self.seen.push_back(key);
        if self.seen.len() > KEPT_IMAGES
            && let Some(oldest) = self.seen.pop_front()
        {
            self.features.remove(&oldest);
        }
    }

    /// Returns the prompt as the authors' code makes it.
    fn prompt(&self, job: &Job, features: Vec<Tensor>) -> Result<Prompt, String> {
        let (tokenizer, special) = (&self.runtime.tokenizer, &self.runtime.special);
        let text = chat_text(job);
        let ids =
            tokenizer.encode(&text, job.form == Form::Adapter).map_err(|error| said(&error))?;
        let vision = self.runtime.config.num_vision_tokens;
        let layout = layout_of(&ids, None, special, vision).map_err(|error| said(&error))?;
        let (len, limit) = (layout.len(), self.runtime.aki.max_positions());
        if len > limit {
            return Err(format!("the prompt has {len} tokens, the model's context is {limit}"));
        }
        Ok(Prompt { ids, layout, features, policy: self.policy })
    }

    /// Adds jobs to the batch until it is full; a job that cannot be asked is answered with why.
    fn fill(
        &mut self,
        batch: &mut Batch<'_>,
        (asked, next): (Asked<'_>, &mut usize),
        running: &mut HashMap<RequestId, Running>,
    ) -> Result<Vec<(usize, Reply)>, Error> {
        let mut refused = Vec::new();
        let num_jobs = asked.jobs.len();
        while *next < num_jobs && batch.num_running() + batch.num_waiting() < self.batch {
            let (at, job) = (*next, &asked.jobs[*next]);
            *next += 1;
            let start = Instant::now();
            let seen = self.see(asked, at)?;
            let image_seconds = start.elapsed().as_secs_f64();
            let added = seen.and_then(|features| self.prompt(job, features)).and_then(|prompt| {
                let limit = (job.max_new_tokens, self.cancel.clone());
                let request = self.runtime.request(prompt, Sampling::greedy(), limit);
                batch.add(request).map_err(|error| said(&error))
            });
            match added {
                Ok(id) => {
                    running.insert(id, Running { at, image_seconds });
                }
                Err(problem) => {
                    refused.push((at, Reply { answer: Err(problem), ..Reply::empty() }));
                }
            }
        }
        Ok(refused)
    }

    fn reply(&self, generated: &Generated, image: f64) -> Reply {
        let timings = &generated.timings;
        let finish = match generated.finish {
            FinishReason::Length => "length",
            _ => "stop",
        };
        Reply {
            answer: Ok(self.runtime.tokenizer.decode(&generated.new_ids, true)),
            finish: finish.to_owned(),
            prompt_tokens: timings.prompt_tokens,
            new_tokens: timings.new_tokens,
            seconds: Seconds {
                image,
                prefill: timings.prefill.as_secs_f64(),
                decode: timings.decode.as_secs_f64(),
            },
        }
    }
}

impl Answerer for ModelAnswerer<'_> {
    fn answer(
        &mut self,
        jobs: &[Job],
        images: &Images<'_>,
        on_reply: &mut OnReply<'_>,
    ) -> Result<(), Error> {
        self.features.clear();
        self.seen.clear();
        let runtime = self.runtime;
        let preprocessor = &runtime.preprocessor;
        let prepare = |job: &Job| prepare(preprocessor, job, images);
        let ahead = Ahead::new(jobs);
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&ahead);
            for _ in 0..ahead.num_threads() {
                scope.spawn(|| ahead.work(&prepare));
            }
            self.answer_all(Asked { jobs, ahead: &ahead, prepare: &prepare }, on_reply)
        })
    }
}

impl ModelAnswerer<'_> {
    fn answer_all(&mut self, asked: Asked<'_>, on_reply: &mut OnReply<'_>) -> Result<(), Error> {
        let runtime = self.runtime;
        let mut batch = Batch::new(&runtime.aki, self.batch);
        let mut running: HashMap<RequestId, Running> = HashMap::new();
        let mut next = 0;
        let mut stopped = false;
        loop {
            if !stopped && !self.cancel.is_cancelled() {
                for (at, reply) in self.fill(&mut batch, (asked, &mut next), &mut running)? {
                    stopped |= on_reply(at, reply) == ControlFlow::Break(());
                }
            }
            if batch.is_idle() {
                break;
            }
            let events = batch.step().map_err(|error| Error::Model { problem: said(&error) })?;
            for event in events {
                let (at, reply) = match event {
                    Event::Token { .. } => continue,
                    // An answer that was broken off is none.
                    Event::Finished { request, reply } => match running.remove(&request) {
                        Some(_) if reply.finish == FinishReason::Cancelled => continue,
                        Some(known) => (known.at, self.reply(&reply, known.image_seconds)),
                        None => continue,
                    },
                    Event::Failed { request, error } => match running.remove(&request) {
                        Some(known) => {
                            (known.at, Reply { answer: Err(said(&error)), ..Reply::empty() })
                        }
                        None => continue,
                    },
                };
                stopped |= on_reply(at, reply) == ControlFlow::Break(());
            }
        }
        Ok(())
    }
}

/// Returns what an error says, and what its causes say.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Returns the numbers of the images that a job shows.
fn numbers(job: &Job) -> Vec<usize> {
    let number = |part: &Part| match part {
        Part::Image(number) => Some(*number),
        Part::Text(_) => None,
    };
    job.parts.iter().filter_map(number).collect()
}

/// Reads the images that a job shows and makes pixel values of them.
fn prepare(preprocessor: &Preprocessor, job: &Job, images: &Images<'_>) -> Ready {
    let files = images(job)?;
    let decode = if job.upright { RgbImage::decode } else { RgbImage::decode_as_stored };
    let mut ready: Vec<(usize, Vec<f32>)> = Vec::new();
    for (number, file) in numbers(job).into_iter().zip(files) {
        // An image may be shown more than once.
        if ready.iter().any(|(known, _)| *known == number) {
            continue;
        }
        match decode(&file) {
            Ok(image) => ready.push((number, preprocessor.preprocess(&image))),
            Err(error) => return Ok(Err(format!("column `image`: {}", said(&error)))),
        }
    }
    Ok(Ok(ready))
}

/// Returns the chat's text with tokens spelled out, as the authors' adapter and script do.
fn chat_text(job: &Job) -> String {
    let system = ChatTemplate::default().system.unwrap_or_default();
    let opening = match job.form {
        Form::Adapter => "",
        // The script spells the first token out, with a space after it.
        Form::Script => "<s> ",
    };
    let mut question = String::new();
    for part in &job.parts {
        match part {
            Part::Image(_) => question.push_str("<image>"),
            // An image spelled in a question is none.
            Part::Text(text) => question.push_str(&text.replace("<image>", "< image>")),
        }
    }
    format!("{opening}<|system|>\n{system}<|end|>\n<|user|>\n{question}<|end|>\n<|assistant|>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_with_its_causes() {
        let source = std::io::Error::other("no such thing");
        let error = Error::File { action: "read", path: "x.tsv".into(), source };
        assert_eq!(said(&error), "cannot read `x.tsv`: no such thing");
    }
}
