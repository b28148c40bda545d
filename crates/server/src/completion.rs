//! `/v1/completions`: text that goes on.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use prompt::Encoded;
use sequence::{Layout, Role};

use crate::answer::{Form, Question, answer};
use crate::error::ApiError;
use crate::fields::{Fields, expected};
use crate::guard::Asker;
use crate::sampling::Wishes;
use crate::{App, body, form};

/// The most texts that one request lets go on.
const MAX_PROMPTS: usize = 16;

/// Continues texts.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    Extension(asker): Extension<Asker>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::receive(&app, request).await?;
    let reader = Arc::clone(&app);
    let question = app.budget.work(move || question(&reader, &body.bytes, asker)).await?;
    answer(app, question).await
}

fn question(app: &App, body: &[u8], asker: Asker) -> Result<Question, ApiError> {
    let fields = Fields::parse(body)?;
    let mut wishes = Wishes::parse(&fields)?;
    wishes.constraint = form::constraint(app, &fields)?;
    let top = fields.integer("logprobs", 0..=20)?;
    wishes.top_logprobs = top.and_then(|top| usize::try_from(top).ok());
    let texts = fields.texts("prompt", MAX_PROMPTS)?;
    if texts.is_empty() {
        let found = fields.get("prompt").unwrap_or(&serde_json::Value::Null);
        return Err(expected("prompt", found, &format!("a text, or a list of 1 to {MAX_PROMPTS}")));
    }
    let model = &app.model;
    let prompts = texts.iter().map(|text| {
        let mut ids = vec![model.special.bos];
        let encoded = model.tokenizer.encode_literal(text, true);
        ids.extend(encoded.map_err(|error| ApiError::invalid("prompt", error.to_string()))?);
        let layout = Layout::new().text(Role::User, ids.len());
        Ok(Encoded { ids, layout })
    });
    let prompts = prompts.collect::<Result<_, ApiError>>()?;
    Ok(Question { prompts, images: Vec::new(), wishes, form: Form::Completion, asker })
}
