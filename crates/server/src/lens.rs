//! `/v1/attention`: where the words of a conversation look.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{CancelToken, ImageLens, Job, Lens, Sampling, Word};
use prompt::{Encoded, TextStream, Tokenizer};
use sequence::{AttentionPolicy, Role, SpanKind, TokenId};
use serde_json::{Value, json};

use crate::chat::{Conversation, conversation};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::guard::Asker;
use crate::image::{self, Source};
use crate::sampling::policy;
use crate::{App, body};

/// The most words of a question and its reply.
const MAX_WORDS: usize = 1024;

/// What is looked at: a sequence, where its images are, its words and their texts.
struct Asked {
    encoded: Encoded,
    sources: Vec<Source>,
    policy: AttentionPolicy,
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
    Extension(asker): Extension<Asker>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::receive(&app, request).await?;
    let reader = Arc::clone(&app);
    let read = move || Ok((asked(&reader, &body.bytes)?, body.place));
    let (asked, place) = app.budget.work(read).await?;
    let Asked { encoded: Encoded { ids, layout }, sources, policy, words, texts } = asked;
    let images = image::read(&app, sources).await?;
    drop(place);
    let job = Job {
        ids,
        layout,
        images,
        policy,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        max_new_tokens: 0,
        top_logprobs: None,
        bias: Vec::new(),
        constraint: None,
        client: asker.client,
        deadline: Instant::now().checked_add(app.options.deadline),
        cancel: CancelToken::new(),
    };
    let _gone = Gone(job.cancel.clone());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // Nobody listening means that the client is gone.
    app.model.scheduler.look(job, words, |lens| drop(sender.send(lens)))?;
    let lens = receiver.await.map_err(|_| ApiError::Stopping)??;
    let writer = Arc::clone(&app);
    let answer = app.budget.work(move || Ok(described(&writer, policy, &texts, &lens)));
    Ok(crate::json_of(&answer.await?))
}

fn asked(app: &App, body: &[u8]) -> Result<Asked, ApiError> {
    let fields = Fields::parse(body)?;
    let policy = policy(&fields)?;
    let Conversation { encoded, sources } = conversation(app, &fields)?;
    let (words, texts) = words(&app.model.tokenizer, &encoded);
    if words.len() > MAX_WORDS {
        let found = words.len();
        let message =
            format!("the last turn has {found} tokens of text, expected at most {MAX_WORDS}");
        return Err(ApiError::invalid("messages", message));
    }
    Ok(Asked { encoded, sources, policy, words, texts })
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
