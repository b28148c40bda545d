//! Judges: models that read what no rule can, through an OpenAI-compatible endpoint.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::endpoint::{Endpoint, EndpointConfig, Usage};

/// What a judge is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What the judge is, none where that is not said.
    pub system: Option<String>,
    /// The request.
    pub prompt: String,
    /// The temperatures of the attempts, one after the other until a reply can be read.
    pub temperatures: Vec<f64>,
    /// The longest reply.
    pub max_tokens: Option<usize>,
}

impl Task {
    /// Returns a task that is tried five times, each time more freely.
    pub fn patient(prompt: String, max_tokens: Option<usize>) -> Self {
        Self { system: None, prompt, temperatures: vec![0.0, 0.5, 1.0, 1.5, 2.0], max_tokens }
    }
}

/// What a judge cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeCost {
    /// Replies that were asked for.
    pub asked: usize,
    /// Replies that were known.
    pub cached: usize,
    /// Requests without a reply, after all repetitions.
    pub failed: usize,
    /// Repetitions.
    #[serde(default)]
    pub repeated: usize,
    /// The tokens of what was asked for.
    pub usage: Usage,
}

/// A stored reply.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    key: String,
    reply: String,
    usage: Usage,
}

/// A judge with a memory.
#[derive(Debug)]
pub struct Judge {
    endpoint: Endpoint,
    cache: Mutex<Cache>,
    cost: Mutex<JudgeCost>,
}

#[derive(Debug)]
struct Cache {
    known: HashMap<String, String>,
    path: PathBuf,
    file: File,
}

impl Judge {
    /// Opens a judge; replies are kept in `cache`, a file that is made if there is none.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(config: EndpointConfig, cache: &Path) -> Result<Self, Error> {
        let mut known = HashMap::new();
        if let Ok(file) = File::open(cache) {
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                // A line that a kill cut short is asked again.
                if let Ok(Known { key, reply, .. }) = serde_json::from_str(&line) {
                    known.insert(key, reply);
                }
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(cache);
        let mut file = file.map_err(|source| write_error(cache, source))?;
        // Whatever the last line was, the next one starts on its own.
        if !known.is_empty() {
            file.write_all(b"\n").map_err(|source| write_error(cache, source))?;
        }
        let cache = Cache { known, path: cache.to_owned(), file };
        let cost = Mutex::new(JudgeCost::default());
        Ok(Self { endpoint: Endpoint::new(config), cache: Mutex::new(cache), cost })
    }

    /// Returns the judge's name.
    pub fn model(&self) -> &str {
        &self.endpoint.config().model
    }

    /// Returns what it cost so far.
    pub fn cost(&self) -> JudgeCost {
        let cost = *self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        JudgeCost { repeated: self.endpoint.num_repeated(), ..cost }
    }

    /// Asks for every task until a reply can be read; none where no reply could. `on_done` is
    /// called after each task.
    ///
    /// # Errors
    /// If replies cannot be stored, or the endpoint refuses requests altogether.
    pub fn ask<T: Send>(
        &self,
        tasks: &[Task],
        read: impl Fn(usize, &str) -> Option<T> + Sync,
        on_done: impl Fn() + Sync,
    ) -> Result<Vec<Option<T>>, Error> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<T>>> = tasks.iter().map(|_| Mutex::new(None)).collect();
        let failure = Mutex::new(None);
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(task) = tasks.get(at) else { break };
                match self.judge(task, |reply| read(at, reply)) {
                    Ok(found) => {
                        *results[at].lock().unwrap_or_else(PoisonError::into_inner) = found;
                    }
                    Err(error) => {
                        next.store(tasks.len(), Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        break;
                    }
                }
                on_done();
            }
        };
        let threads = self.endpoint.config().concurrency.clamp(1, tasks.len().max(1));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let take =
            |result: Mutex<Option<T>>| result.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(results.into_iter().map(take).collect())
    }

    fn judge<T>(&self, task: &Task, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let mut unanswered = None;
        for (attempt, temperature) in task.temperatures.iter().enumerate() {
            match self.reply(task, attempt, *temperature)? {
                Ok(reply) => {
                    unanswered = None;
                    if let Some(found) = read(&reply) {
                        return Ok(Some(found));
                    }
                }
                Err(error) => unanswered = Some(error),
            }
            if unanswered.is_some() {
                break;
            }
        }
        match unanswered {
            // A judge that does not like one request may like others; one that never answers is no
            // judge, and no score is better than a wrong one.
            None | Some(Error::Endpoint { refused: true, .. }) => Ok(None),
            Some(error) => Err(error),
        }
    }

    /// Returns a reply, a known one if there is one; the inner error is the endpoint's.
    fn reply(
        &self,
        task: &Task,
        attempt: usize,
        temperature: f64,
    ) -> Result<Result<String, Error>, Error> {
        let mut messages = Vec::new();
        if let Some(system) = &task.system {
            messages.push(json!({ "role": "system", "content": system }));
        }
        messages.push(json!({ "role": "user", "content": task.prompt }));
        let messages = Value::Array(messages);
        let mut options = json!({ "temperature": temperature });
        if let Some(max_tokens) = task.max_tokens {
            options["max_tokens"] = max_tokens.into();
        }
        let key = key(self.model(), attempt, &messages, &options);
        let known = self.lock().known.get(&key).cloned();
        if let Some(reply) = known {
            self.count(|cost| cost.cached += 1);
            return Ok(Ok(reply));
        }
        match self.endpoint.complete(&messages, &options) {
            Ok(completion) => {
                self.count(|cost| {
                    cost.asked += 1;
                    cost.usage.add(completion.usage);
                });
                let Known { reply, .. } =
                    self.keep(Known { key, reply: completion.text, usage: completion.usage })?;
                Ok(Ok(reply))
            }
            Err(error) => {
                self.count(|cost| cost.failed += 1);
                Ok(Err(error))
            }
        }
    }

    fn keep(&self, known: Known) -> Result<Known, Error> {
        let mut cache = self.lock();
        let mut line = serde_json::to_string(&known)
            .map_err(|source| Error::Json { path: cache.path.clone(), source })?;
        line.push('\n');
        let written = cache.file.write_all(line.as_bytes());
        written.map_err(|source| write_error(&cache.path, source))?;
        cache.known.insert(known.key.clone(), known.reply.clone());
        Ok(known)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, add: impl FnOnce(&mut JudgeCost)) {
        add(&mut self.cost.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn write_error(path: &Path, source: std::io::Error) -> Error {
    Error::File { action: "write", path: path.to_owned(), source }
}

/// Returns the name of a request: the same for the same words to the same judge.
fn key(model: &str, attempt: usize, messages: &Value, options: &Value) -> String {
    let mut digest = Sha256::new();
    digest.update(json!([model, attempt, messages, options]).to_string());
    crate::data::hex(&digest.finalize()[..16])
}
