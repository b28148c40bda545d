//! `/v1/attention`: where the words of a conversation look.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{CancelToken, ImageLens, Job, Lens, Sampling, Word};
use prompt::{Encoded, TextStream, Tokenizer};
use sequence::{AttentionPolicy, Role, SpanKind, TokenId};
use serde_json::{Value, json};

use crate::App;
use crate::chat::{conversation, off_the_loop, whole};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::sampling::policy;

/// The most words of a question and its reply.
const MAX_WORDS: usize = 1024;

/// What is looked at: a sequence, its words and their texts.
struct Asked {
    job: Job,
    words: Vec<Word>,
    texts: Vec<Value>,
}

/// Cancels a job whose client is gone.
struct Gone(CancelToken);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Says where the words of the last question and its reply look.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = whole(&app, body)?;
    let reader = Arc::clone(&app);
    let Asked { job, words, texts } = off_the_loop(move || asked(&reader, &body)).await?;
    let _gone = Gone(job.cancel.clone());
    let policy = job.policy;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // Nobody listening means that the client is gone.
    app.model.scheduler.look(job, words, |lens| drop(sender.send(lens)))?;
    let lens = receiver.await.map_err(|_| ApiError::Stopping)??;
    let answer = off_the_loop({
        let app = Arc::clone(&app);
        move || Ok(described(&app, policy, &texts, &lens))
    });
    Ok(crate::json_of(&answer.await?))
}

fn asked(app: &App, body: &[u8]) -> Result<Asked, ApiError> {
    let fields = Fields::parse(body)?;
    let policy = policy(&fields)?;
    let (encoded, images) = conversation(app, &fields)?;
    let (words, texts) = words(&app.model.tokenizer, &encoded);
    if words.len() > MAX_WORDS {
        let found = words.len();
        let message =
            format!("the last turn has {found} tokens of text, expected at most {MAX_WORDS}");
        return Err(ApiError::invalid("messages", message));
    }
    let Encoded { ids, layout } = encoded;
    let job = Job {
        ids,
        layout,
        images,
        policy,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        max_new_tokens: 0,
        top_logprobs: None,
        deadline: Instant::now().checked_add(app.options.deadline),
        cancel: CancelToken::new(),
    };
    Ok(Asked { job, words, texts })
}

/// Returns the words of the last question, and of the reply to it if there is one.
fn words(tokenizer: &Tokenizer, encoded: &Encoded) -> (Vec<Word>, Vec<Value>) {
    let slots: Vec<_> = encoded.layout.slots().collect();
    let reply_starts = slots.iter().rposition(|slot| slot.kind == SpanKind::ReplyMark);
    let reply_starts = reply_starts.unwrap_or(slots.len());
    let before = slots[..reply_starts].iter();
    let turn_starts = before
        .rev()
        .position(|slot| matches!(slot.kind, SpanKind::Text(Role::System | Role::Assistant)))
        .map_or(0, |back| reply_starts - back);
    let (mut words, mut texts) = (Vec::new(), Vec::new());
    for slot in &slots[turn_starts..] {
        let (role, reader) = match slot.kind {
            SpanKind::Text(Role::User) => ("user", 0),
            SpanKind::Text(Role::Assistant) => ("assistant", 1),
            _ => continue,
        };
        let ids = &encoded.ids[slot.ids.clone()];
        for (position, text) in spoken(tokenizer, ids, slot.positions.clone()) {
            words.push(Word { position, reader: position.saturating_sub(reader) });
            texts.push(json!({"role": role, "text": text}));
        }
    }
    (words, texts)
}

/// Returns the tokens that are text, with the characters that each completes.
fn spoken(tokenizer: &Tokenizer, ids: &[TokenId], positions: Range<usize>) -> Vec<(usize, String)> {
    let mut stream = TextStream::new(tokenizer);
    let pieces = positions.zip(ids).map(|(position, id)| (position, stream.push(*id)));
    let texts = pieces.filter_map(|(position, text)| Some((position, text?)));
    texts.filter(|(_, text)| !text.trim().is_empty()).collect()
}

fn described(app: &App, policy: AttentionPolicy, texts: &[Value], lens: &Lens) -> Value {
    let images: Vec<Value> = lens.images.iter().map(image).collect();
    json!({
        "object": "attention",
        "model": app.model.name,
        "attention": policy.name(),
        "layers": lens.num_layers,
        "words": texts,
        "images": images,
    })
}

fn image(image: &ImageLens) -> Value {
    // Patches are read in rows of a square.
    let side = image.num_patches.isqrt();
    json!({
        "tokens": image.num_tokens,
        "rows": side,
        "columns": side,
        "patches": floats(&image.patches),
        "reads": floats(&image.reads),
        "is_read": floats(&image.is_read),
    })
}

/// Returns numbers as base64 of little-endian 32-bit floats.
fn floats(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
