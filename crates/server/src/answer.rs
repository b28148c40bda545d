//! From a question to the response: choices that are computed side by side, whole or streamed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use engine::{CancelToken, FinishReason, Image, Job, Progress, Timings, TokenLogprobs};
use prompt::{Encoded, StopStrings, TextStream, Tokenizer};
use sequence::TokenId;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::error::ApiError;
use crate::guard::Asker;
use crate::sampling::Wishes;
use crate::{App, reply};

/// Which of the two forms an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Chat,
    Completion,
}

/// What is to be answered.
#[derive(Debug)]
pub(crate) struct Question {
    /// What is to go on, each of them in as many ways as are wished.
    pub(crate) prompts: Vec<Encoded>,
    pub(crate) images: Vec<Image>,
    pub(crate) wishes: Wishes,
    pub(crate) form: Form,
    pub(crate) asker: Asker,
}

/// Answers a question.
///
/// # Errors
/// If it is too long, too much is to be done already, or the model fails.
pub(crate) async fn answer(app: Arc<App>, question: Question) -> Result<Response, ApiError> {
    let limit = app.model.max_positions;
    let longest = question.prompts.iter().map(|prompt| prompt.layout.len()).max();
    if let Some(tokens) = longest.filter(|tokens| *tokens > limit) {
        return Err(ApiError::TooLong { tokens, limit });
    }
    let stream = question.wishes.stream;
    let mut running = Running::start(&app, question)?;
    if stream {
        // Until something is there, an error is an error of the response.
        running.wait().await?;
        return Ok(running.into_stream());
    }
    while !running.is_done() {
        running.wait().await?;
    }
    Ok(crate::json_of(&running.whole()))
}

/// One of the replies to a question, while it is written.
struct Choice {
    stream: TextStream,
    stops: StopStrings,
    cancel: CancelToken,
    text: String,
    /// Text and log-probabilities that are not sent yet.
    unsent: String,
    logprobs: Vec<Value>,
    unsent_logprobs: Vec<Value>,
    finish: Option<&'static str>,
    /// When the first token came, counted from the question.
    first: Option<Duration>,
    timings: Option<Timings>,
}

/// A question whose replies are being computed; dropping it cancels them.
struct Running {
    app: Arc<App>,
    receiver: UnboundedReceiver<(usize, Progress)>,
    choices: Vec<Choice>,
    form: Form,
    started: Instant,
    id: String,
    asker: Asker,
    created: u64,
    with_logprobs: bool,
    with_usage: bool,
    /// How many choices each prompt has.
    ways: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.choices.iter().for_each(|choice| choice.cancel.cancel());
        for (index, choice) in self.choices.iter().enumerate() {
            let timings = choice.timings.unwrap_or_default();
            let finish = choice.finish.unwrap_or("none");
            self.app.metrics.reply(finish, choice.first, &timings);
            tracing::info!(
                request_id = self.asker.request_id,
                id = self.id,
                choice = index,
                // Without one the client went away, or the answer failed.
                finish,
                prompt_tokens = timings.prompt_tokens,
                cached_tokens = timings.cached_tokens,
                new_tokens = timings.new_tokens,
                first_token_ms = choice.first.unwrap_or_default().as_millis() as u64,
                prefill_ms = timings.prefill.as_millis() as u64,
                decode_ms = timings.decode.as_millis() as u64,
                "reply"
            );
        }
    }
}

impl Running {
    fn start(app: &Arc<App>, question: Question) -> Result<Self, ApiError> {
        let Question { prompts, images, wishes, form, asker } = question;
        let (sender, receiver) = unbounded_channel();
        let prefix = if form == Form::Chat { "chatcmpl-" } else { "cmpl-" };
        let mut running = Self {
            receiver,
            choices: Vec::new(),
            form,
            started: Instant::now(),
            id: reply::fresh_id(prefix),
            asker,
            created: reply::now(),
            with_logprobs: wishes.top_logprobs.is_some(),
            with_usage: wishes.stream_usage,
            ways: wishes.choices,
            app: Arc::clone(app),
        };
        let choices =
            prompts.iter().flat_map(|prompt| (0..wishes.choices).map(move |k| (prompt, k)));
        for (index, (prompt, way)) in choices.enumerate() {
            let cancel = CancelToken::new();
            running.choices.push(Choice::new(&app.model.tokenizer, &wishes, cancel.clone()));
            let stop = if wishes.endless { Vec::new() } else { app.model.special.stops().to_vec() };
            let job = Job {
                ids: prompt.ids.clone(),
                layout: prompt.layout.clone(),
                images: images.clone(),
                policy: wishes.policy,
                sampling: wishes.sampling(way)?,
                stop,
                max_new_tokens: wishes.max_tokens,
                top_logprobs: wishes.top_logprobs,
                bias: wishes.bias.clone(),
                constraint: wishes.constraint.clone(),
                client: running.asker.client,
                deadline: Instant::now().checked_add(app.options.deadline),
                cancel,
            };
            let sender = sender.clone();
            // Nobody listening means that the client is gone, and the job is cancelled already.
            app.model.scheduler.submit(job, move |progress| {
                let _ = sender.send((index, progress));
            })?;
        }
        Ok(running)
    }

    fn is_done(&self) -> bool {
        self.choices.iter().all(|choice| choice.timings.is_some())
    }

    /// Waits for something to happen to one of the choices; returns which.
    async fn wait(&mut self) -> Result<usize, ApiError> {
        let Some((index, progress)) = self.receiver.recv().await else {
            return Err(ApiError::Stopping);
        };
        match progress {
            Progress::Token { id, logprobs } => {
                let choice = &mut self.choices[index];
                choice.first.get_or_insert(self.started.elapsed());
                choice.push(&self.app.model.tokenizer, self.form, id, logprobs.as_ref());
            }
            Progress::Finished(generated) => {
                self.choices[index].end(generated.finish, generated.timings);
            }
            Progress::Failed(error) => return Err(error.into()),
        }
        Ok(index)
    }

    fn object(&self, streamed: bool) -> &'static str {
        match (self.form, streamed) {
            (Form::Chat, false) => "chat.completion",
            (Form::Chat, true) => "chat.completion.chunk",
            (Form::Completion, _) => "text_completion",
        }
    }

    fn envelope(&self, streamed: bool, choices: &[Value]) -> Value {
        json!({
            "id": self.id,
            "object": self.object(streamed),
            "created": self.created,
            "model": self.app.model.name,
            "choices": choices,
        })
    }

    /// Returns where the time went.
    fn times(&self) -> Value {
        let first = self.choices.iter().filter_map(|choice| choice.first).max();
        reply::timings(first, &self.all_timings())
    }

    fn all_timings(&self) -> Vec<Timings> {
        self.choices.iter().filter_map(|choice| choice.timings).collect()
    }

    /// Returns the complete response.
    fn whole(&self) -> Value {
        let choices = self.choices.iter().enumerate().map(|(index, choice)| {
            let mut value = json!({
                "index": index,
                "finish_reason": choice.finish,
                "logprobs": self.logprobs(&choice.logprobs),
            });
            match self.form {
                Form::Chat => {
                    value["message"] =
                        json!({"role": "assistant", "content": choice.text, "refusal": null});
                }
                Form::Completion => value["text"] = json!(choice.text),
            }
            value
        });
        let mut whole = self.envelope(false, &choices.collect::<Vec<_>>());
        whole["usage"] = reply::usage(&self.all_timings(), self.ways);
        whole["timings"] = self.times();
        whole
    }

    fn logprobs(&self, entries: &[Value]) -> Value {
        if !self.with_logprobs {
            return Value::Null;
        }
        match self.form {
            Form::Chat => json!({"content": entries}),
            Form::Completion => {
                let column = |name: &str| -> Vec<Value> {
                    entries.iter().map(|entry| entry[name].clone()).collect()
                };
                json!({
                    "tokens": column("token"),
                    "token_logprobs": column("logprob"),
                    "top_logprobs": column("top"),
                })
            }
        }
    }

    /// Returns what is new of a choice as an event, if there is anything.
    fn chunk(&mut self, index: usize) -> Option<Value> {
        let choice = &mut self.choices[index];
        let text = std::mem::take(&mut choice.unsent);
        let finish = choice.finish.filter(|_| choice.timings.is_some());
        let entries = std::mem::take(&mut choice.unsent_logprobs);
        if text.is_empty() && finish.is_none() && entries.is_empty() {
            return None;
        }
        let logprobs = if entries.is_empty() { Value::Null } else { self.logprobs(&entries) };
        let mut value = json!({"index": index, "finish_reason": finish, "logprobs": logprobs});
        match self.form {
            Form::Chat if text.is_empty() => value["delta"] = json!({}),
            Form::Chat => value["delta"] = json!({"content": text}),
            Form::Completion => value["text"] = json!(text),
        }
        Some(self.envelope(true, &[value]))
    }

    /// Returns the response that is sent as it comes.
    fn into_stream(mut self) -> Response {
        let mut ready = VecDeque::new();
        for index in 0..self.choices.len() {
            if self.form == Form::Chat {
                let delta = json!({"role": "assistant", "content": ""});
                let opening = json!({"index": index, "delta": delta, "finish_reason": null});
                ready.push_back(event(&self.envelope(true, &[opening])));
            }
            ready.extend(self.chunk(index).as_ref().map(event));
        }
        let state = (self, ready, false);
        let stream =
            futures_util::stream::unfold(state, |(mut running, mut ready, ended)| async move {
                let mut ended = ended;
                while ready.is_empty() && !ended {
                    if running.is_done() {
                        running.close(&mut ready);
                        ended = true;
                        break;
                    }
                    match running.wait().await {
                        Ok(index) => ready.extend(running.chunk(index).as_ref().map(event)),
                        Err(error) => {
                            ready.push_back(event(&error.to_json()));
                            ready.push_back("data: [DONE]\n\n".to_owned());
                            ended = true;
                        }
                    }
                }
                let next = ready.pop_front()?;
                Some((Ok::<_, std::convert::Infallible>(next), (running, ready, ended)))
            });
        let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
        (headers, Body::from_stream(stream)).into_response()
    }

    /// Appends what ends a stream.
    fn close(&self, ready: &mut VecDeque<String>) {
        if self.with_usage {
            let mut last = self.envelope(true, &[]);
            last["usage"] = reply::usage(&self.all_timings(), self.ways);
            last["timings"] = self.times();
            ready.push_back(event(&last));
        }
        ready.push_back("data: [DONE]\n\n".to_owned());
    }
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

impl Choice {
    fn new(tokenizer: &Tokenizer, wishes: &Wishes, cancel: CancelToken) -> Self {
        Self {
            stream: TextStream::new(tokenizer),
            stops: StopStrings::new(wishes.stops.iter().cloned()),
            cancel,
            text: String::new(),
            unsent: String::new(),
            logprobs: Vec::new(),
            unsent_logprobs: Vec::new(),
            finish: None,
            first: None,
            timings: None,
        }
    }

    fn push(
        &mut self,
        tokenizer: &Tokenizer,
        form: Form,
        id: TokenId,
        logprobs: Option<&TokenLogprobs>,
    ) {
        if self.stops.stopped() {
            return;
        }
        if let Some(piece) = self.stream.push(id) {
            let certain = self.stops.push(&piece);
            self.say(&certain);
        }
        if let Some(logprobs) = logprobs.filter(|_| !tokenizer.is_skipped(id)) {
            let entry = entry(tokenizer, form, id, logprobs);
            self.logprobs.push(entry.clone());
            self.unsent_logprobs.push(entry);
        }
        if self.stops.stopped() {
            self.cancel.cancel();
        }
    }

    fn end(&mut self, finish: FinishReason, timings: Timings) {
        if let Some(piece) = self.stream.finish().filter(|_| !self.stops.stopped()) {
            let certain = self.stops.push(&piece);
            self.say(&certain);
        }
        let stopped = self.stops.stopped();
        let held = self.stops.finish();
        if !stopped {
            self.say(&held);
        }
        self.finish = Some(match finish {
            FinishReason::Length if !stopped => "length",
            _ => "stop",
        });
        self.timings = Some(timings);
    }

    fn say(&mut self, text: &str) {
        self.text.push_str(text);
        self.unsent.push_str(text);
    }
}

/// Returns how likely a token was, in the words of the API.
fn entry(tokenizer: &Tokenizer, form: Form, id: TokenId, logprobs: &TokenLogprobs) -> Value {
    let text = |id: TokenId| tokenizer.decode(&[id], false);
    // JSON has no infinities; the API's own stand-in for "impossible" is this.
    let finite = |value: f32| value.max(-9999.0);
    if form == Form::Completion {
        let top = logprobs.top.iter().map(|(id, value)| (text(*id), json!(finite(*value))));
        let top: serde_json::Map<String, Value> = top.collect();
        return json!({"token": text(id), "logprob": finite(logprobs.logprob), "top": top});
    }
    let one = |id: TokenId, value: f32| {
        let token = text(id);
        // A token may be a part of a character, which its text cannot show.
        let bytes = tokenizer.bytes_of(id).unwrap_or_else(|| token.as_bytes().to_vec());
        json!({"token": token, "logprob": finite(value), "bytes": bytes})
    };
    let mut entry = one(id, logprobs.logprob);
    let top = logprobs.top.iter().map(|(id, value)| one(*id, *value));
    entry["top_logprobs"] = top.collect::<Vec<_>>().into();
    entry
}
