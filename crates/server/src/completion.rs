//! `/v1/completions`: text that goes on.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use sequence::{Layout, Role};

use crate::App;
use crate::answer::{Form, Question, answer};
use crate::chat::{off_the_loop, whole};
use crate::error::ApiError;
use crate::fields::{Fields, expected};
use crate::sampling::Wishes;

/// Continues a text.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = whole(&app, body)?;
    let asked = Arc::clone(&app);
    let question = off_the_loop(move || question(&asked, &body)).await?;
    answer(app, question).await
}

fn question(app: &App, body: &[u8]) -> Result<Question, ApiError> {
    let fields = Fields::parse(body)?;
    let mut wishes = Wishes::parse(&fields)?;
    let top = fields.integer("logprobs", 0..=20)?;
    wishes.top_logprobs = top.and_then(|top| usize::try_from(top).ok());
    let prompts = fields.texts("prompt", 1)?;
    let [text] = prompts.as_slice() else {
        let found = fields.get("prompt").unwrap_or(&serde_json::Value::Null);
        return Err(expected("prompt", found, "a text, or a list with one text"));
    };
    let model = &app.model;
    let mut ids = vec![model.special.bos];
    let encoded = model.tokenizer.encode_literal(text, true);
    ids.extend(encoded.map_err(|error| ApiError::invalid("prompt", error.to_string()))?);
    let layout = Layout::new().text(Role::User, ids.len());
    Ok(Question { ids, layout, images: Vec::new(), wishes, form: Form::Completion })
}
