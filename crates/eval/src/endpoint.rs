//! A client of OpenAI-compatible endpoints, for models that are asked and for judges.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Error;

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The longest reply that is read.
const MAX_REPLY: u64 = 32 << 20;
/// How long nothing is said after it was said why requests are repeated.
const QUIET: Duration = Duration::from_secs(10);

/// Where a model is asked, and how patiently.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// The address: `http://host:8000/v1`, or the whole of it with `/chat/completions`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The key, none where none is needed.
    pub key: Option<String>,
    /// How many requests are under way at once.
    pub concurrency: usize,
    /// How often a request is repeated that failed.
    pub retries: usize,
    /// How long the first repetition waits; each further one waits twice as long.
    pub wait: Duration,
    /// How long a reply may take.
    pub timeout: Duration,
    /// Is told now and then why requests are repeated.
    pub notify: fn(&str),
}

impl EndpointConfig {
    /// Returns the usual patience.
    pub fn new(url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            model: model.into(),
            key: None,
            concurrency: 8,
            retries: 6,
            wait: Duration::from_secs(1),
            timeout: Duration::from_mins(10),
            notify: |_| (),
        }
    }
}

/// Tokens as an endpoint counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of what was asked.
    pub prompt_tokens: u64,
    /// Of what was replied.
    pub completion_tokens: u64,
}

impl Usage {
    /// Adds tokens.
    pub fn add(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
    }
}

/// What an endpoint replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// The tokens.
    pub usage: Usage,
    /// Why it ended.
    pub finish: String,
}

/// One attempt that failed.
struct Failed {
    problem: String,
    /// Whether this request is what the endpoint does not like.
    refused: bool,
    /// Whether there was a reply with nothing in it.
    empty: bool,
    /// Whether another attempt may succeed.
    again: bool,
    /// How long the endpoint wants us to wait.
    wait: Option<Duration>,
}

/// A client.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    address: String,
    agent: ureq::Agent,
    stopped: (Mutex<bool>, Condvar),
    /// When it was said last why requests are repeated.
    told: Mutex<Option<Instant>>,
    repeated: AtomicUsize,
}

impl Endpoint {
    /// Returns a client; nothing is sent yet.
    pub fn new(config: EndpointConfig) -> Self {
        let base = config.url.trim_end_matches('/');
        let address = if base.ends_with("/chat/completions") {
            base.to_owned()
        } else {
            format!("{base}/chat/completions")
        };
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .http_status_as_error(false)
            .build()
            .into();
        let stopped = (Mutex::new(false), Condvar::new());
        let (told, repeated) = (Mutex::new(None), AtomicUsize::new(0));
        Self { config, address, agent, stopped, told, repeated }
    }

    /// Returns how many requests were repeated so far.
    pub fn num_repeated(&self) -> usize {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Returns how it was made.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }

    /// Ends all waiting; what is asked from now on fails.
    pub fn stop(&self) {
        *self.stopped.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.1.notify_all();
    }

    /// Asks, again and again if need be, each time after a longer wait.
    ///
    /// An empty reply is a failure, as it is for `VLMEvalKit`.
    ///
    /// # Errors
    /// If no attempt succeeds, or the endpoint refuses the request.
    pub fn complete(&self, messages: &Value, options: &Value) -> Result<Completion, Error> {
        let mut body = json!({ "model": self.config.model, "messages": messages });
        if let (Value::Object(body), Value::Object(options)) = (&mut body, options) {
            body.extend(options.clone());
        }
        let mut wait = self.config.wait;
        let mut attempt = 0;
        loop {
            if *self.stopped.0.lock().unwrap_or_else(PoisonError::into_inner) {
                return Err(Error::Interrupted);
            }
            let failed = match self.attempt(&body) {
                Ok(completion) => return Ok(completion),
                Err(failed) => failed,
            };
            if !failed.again || attempt >= self.config.retries {
                let problem = if attempt > 0 {
                    format!("{} (after {} attempts)", failed.problem, attempt + 1)
                } else {
                    failed.problem
                };
                let Failed { refused, empty, .. } = failed;
                return Err(Error::Endpoint { url: self.address.clone(), problem, refused, empty });
            }
            attempt += 1;
            self.repeated.fetch_add(1, Ordering::Relaxed);
            self.tell(&failed.problem);
            self.pause(failed.wait.unwrap_or(wait).min(LONGEST_WAIT));
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Says why a request is repeated, unless that was said a moment ago.
    fn tell(&self, problem: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() > QUIET) {
            (self.config.notify)(&format!("{}: {problem}; trying again", self.address));
            *told = Some(Instant::now());
        }
    }

    fn pause(&self, wait: Duration) {
        let stopped = self.stopped.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stopped.1.wait_timeout_while(stopped, wait, |stopped| !*stopped);
        drop(waited);
    }

    fn attempt(&self, body: &Value) -> Result<Completion, Failed> {
        let mut request = self.agent.post(&self.address).header("content-type", "application/json");
        if let Some(key) = &self.config.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let failed = |problem: String| Failed {
            problem,
            refused: false,
            empty: false,
            again: true,
            wait: None,
        };
        let mut response =
            request.send(body.to_string()).map_err(|error| failed(error.to_string()))?;
        let status = response.status().as_u16();
        let wait = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let text = response.body_mut().with_config().limit(MAX_REPLY).read_to_string();
        let text = text.map_err(|error| failed(error.to_string()))?;
        if !(200..300).contains(&status) {
            // Too early, too many, or the endpoint's own trouble; anything else stays refused.
            let again = matches!(status, 408 | 409 | 425 | 429 | 500..);
            let said: String = error_message(&text).chars().take(300).collect();
            // A wrong key or address is the trouble of all requests.
            let refused = !again && !matches!(status, 401 | 403 | 404);
            let problem = format!("status {status}: {said}");
            return Err(Failed { problem, refused, again, wait, empty: false });
        }
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| failed(format!("the reply is not JSON: {error}")))?;
        let choice = &value["choices"][0];
        let reply = choice["message"]["content"].as_str().map(str::trim).unwrap_or_default();
        if reply.is_empty() {
            // Nothing is wrong with the endpoint that a longer wait would mend.
            let wait = Some(self.config.wait);
            let failed = failed("the reply is empty".to_owned());
            return Err(Failed { refused: true, empty: true, wait, ..failed });
        }
        let usage = serde_json::from_value(value["usage"].clone()).unwrap_or_default();
        let finish = choice["finish_reason"].as_str().unwrap_or("stop").to_owned();
        Ok(Completion { text: reply.to_owned(), usage, finish })
    }
}

/// Returns what an endpoint says of a failure.
fn error_message(text: &str) -> String {
    let value: Option<Value> = serde_json::from_str(text).ok();
    let said = value.as_ref().and_then(|value| value["error"]["message"].as_str());
    said.unwrap_or(text).trim().to_owned()
}

/// Returns the address of an image in a message.
pub fn data_url(image: &[u8]) -> String {
    let kind = match image {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [b'G', b'I', b'F', ..] => "gif",
        [b'R', b'I', b'F', b'F', ..] => "webp",
        [b'B', b'M', ..] => "bmp",
        _ => "jpeg",
    };
    format!("data:image/{kind};base64,{}", STANDARD.encode(image))
}
