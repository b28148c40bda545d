//! Models behind an OpenAI-compatible endpoint.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ask::{Images, OnReply};
use super::{Answerer, Job, Reply, Seconds};
use crate::Error;
use crate::endpoint::{Completion, Endpoint, EndpointConfig, data_url};
use crate::message::Part;

/// How often it is looked whether the user wants to stop.
const TICK: Duration = Duration::from_millis(200);

/// Asks an endpoint, several questions at once.
#[derive(Debug)]
pub struct EndpointAnswerer<F> {
    endpoint: Endpoint,
    is_interrupted: F,
}

impl<F: Fn() -> bool> EndpointAnswerer<F> {
    /// Returns a client that stops when `is_interrupted` says so.
    pub fn new(config: EndpointConfig, is_interrupted: F) -> Self {
        Self { endpoint: Endpoint::new(config), is_interrupted }
    }
}

impl<F: Fn() -> bool> Answerer for EndpointAnswerer<F> {
    fn answer(
        &mut self,
        jobs: &[Job],
        images: &Images<'_>,
        on_reply: &mut OnReply<'_>,
    ) -> Result<(), Error> {
        let endpoint = &self.endpoint;
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel();
        let work = |sender: mpsc::Sender<(usize, Result<Reply, Error>)>| {
            while !stop.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(at) else { break };
                let reply = ask(endpoint, job, images);
                if sender.send((at, reply)).is_err() {
                    break;
                }
            }
        };
        let (mut failure, mut trouble) = (None, Trouble::new(endpoint.config().concurrency));
        std::thread::scope(|scope| {
            for _ in 0..endpoint.config().concurrency.clamp(1, jobs.len().max(1)) {
                let sender = sender.clone();
                scope.spawn(|| work(sender));
            }
            drop(sender);
            loop {
                match receiver.recv_timeout(TICK) {
                    Ok((at, Ok(reply))) => {
                        trouble.end();
                        if on_reply(at, reply) == ControlFlow::Break(()) {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    Ok((_, Err(Error::Interrupted))) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Ok((at, Err(error))) => match trouble.add(error) {
                        Ok(problem) => {
                            let reply = Reply { answer: Err(problem), ..Reply::empty() };
                            if on_reply(at, reply) == ControlFlow::Break(()) {
                                stop.store(true, Ordering::Relaxed);
                            }
                        }
                        Err(error) => {
                            failure.get_or_insert(error);
                            stop.store(true, Ordering::Relaxed);
                            endpoint.stop();
                        }
                    },
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                }
                if (self.is_interrupted)() && !stop.swap(true, Ordering::Relaxed) {
                    endpoint.stop();
                }
            }
        });
        failure.map_or(Ok(()), Err)
    }
}

/// Questions without an answer, which may be the questions' fault or the endpoint's.
struct Trouble {
    /// So many in a row are the endpoint's.
    most: usize,
    in_a_row: usize,
    /// Whether there ever was an answer.
    answered: bool,
}

impl Trouble {
    fn new(concurrency: usize) -> Self {
        Self { most: concurrency.max(4), in_a_row: 0, answered: false }
    }

    fn end(&mut self) {
        (self.in_a_row, self.answered) = (0, true);
    }

    /// Returns what is wrong with one question, or the error if nothing goes on.
    fn add(&mut self, error: Error) -> Result<String, Error> {
        self.in_a_row += 1;
        match error {
            Error::Endpoint { problem, .. } if self.answered && self.in_a_row < self.most => {
                Ok(problem)
            }
            error => Err(error),
        }
    }
}

fn ask(endpoint: &Endpoint, job: &Job, images: &Images<'_>) -> Result<Reply, Error> {
    let mut images = images(job)?.into_iter();
    let mut content = Vec::new();
    for part in &job.parts {
        match part {
            Part::Text(text) => content.push(json!({ "type": "text", "text": text })),
            Part::Image(_) => {
                let url = images.next().map(|image| data_url(&image)).unwrap_or_default();
                content.push(json!({ "type": "image_url", "image_url": { "url": url } }));
            }
        }
    }
    let messages = json!([{ "role": "user", "content": Value::Array(content) }]);
    let options = json!({ "max_tokens": job.max_new_tokens, "temperature": 0.0, "n": 1 });
    let start = Instant::now();
    let reply = match endpoint.complete(&messages, &options) {
        Ok(Completion { text, usage, finish }) => Reply {
            answer: Ok(text),
            finish,
            prompt_tokens: usage.prompt_tokens as usize,
            new_tokens: usage.completion_tokens as usize,
            seconds: Seconds { decode: start.elapsed().as_secs_f64(), ..Seconds::default() },
        },
        // A model that has nothing to say has answered.
        Err(Error::Endpoint { empty: true, .. }) => {
            let decode = start.elapsed().as_secs_f64();
            let seconds = Seconds { decode, ..Seconds::default() };
            Reply { finish: "stop".to_owned(), seconds, ..Reply::empty() }
        }
        // One question that the endpoint does not like is no reason to stop.
        Err(Error::Endpoint { problem, refused: true, .. }) => {
            Reply { answer: Err(problem), ..Reply::empty() }
        }
        Err(error) => return Err(error),
    };
    Ok(reply)
}
