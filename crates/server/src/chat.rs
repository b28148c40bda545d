//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use prompt::{ChatTemplate, Encoded, Message, Part};
use sequence::Role;
use serde_json::{Map, Value};

use crate::answer::{Form, Question, answer};
use crate::error::ApiError;
use crate::fields::{Fields, expected};
use crate::guard::Asker;
use crate::image::{self, Source};
use crate::sampling::Wishes;
use crate::{App, body, form};

/// The most messages of a conversation.
const MAX_MESSAGES: usize = 4096;

/// Answers a conversation.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    Extension(asker): Extension<Asker>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::receive(&app, request).await?;
    let reader = Arc::clone(&app);
    let read = move || {
        let fields = Fields::parse(&body.bytes)?;
        let mut wishes = Wishes::parse(&fields)?;
        wishes.top_logprobs = logprobs(&fields)?;
        wishes.constraint = form::constraint(&reader, &fields)?;
        Ok((wishes, conversation(&reader, &fields)?, body.place))
    };
    let (wishes, Conversation { encoded, sources }, place) = app.budget.work(read).await?;
    let images = image::read(&app, sources).await?;
    drop(place);
    answer(app, Question { prompts: vec![encoded], images, wishes, form: Form::Chat, asker }).await
}

/// What has been said, and where its pictures are.
pub(crate) struct Conversation {
    pub(crate) encoded: Encoded,
    pub(crate) sources: Vec<Source>,
}

/// Reads the messages of a request.
///
/// # Errors
/// If they make no sense, are too many or too long.
pub(crate) fn conversation(app: &App, fields: &Fields) -> Result<Conversation, ApiError> {
    let (messages, sources) = messages(fields)?;
    if sources.len() > app.options.max_images {
        let (found, most) = (sources.len(), app.options.max_images);
        let message = format!("the messages have {found} images, expected at most {most}");
        return Err(ApiError::invalid("messages", message));
    }
    let model = &app.model;
    let encoded =
        ChatTemplate::default().encode(&model.tokenizer, &messages, model.num_vision_tokens);
    let encoded = encoded.map_err(|error| ApiError::invalid("messages", error.to_string()))?;
    let (tokens, limit) = (encoded.layout.len(), model.max_positions);
    if tokens > limit {
        return Err(ApiError::TooLong { tokens, limit });
    }
    Ok(Conversation { encoded, sources })
}

fn logprobs(fields: &Fields) -> Result<Option<usize>, ApiError> {
    let wanted = fields.flag("logprobs")?;
    let top = fields.integer("top_logprobs", 0..=20)?;
    if top.is_some_and(|top| top > 0) && !wanted {
        let message = "`top_logprobs` is given without `logprobs`, expected `logprobs` to be true";
        return Err(ApiError::invalid("top_logprobs", message));
    }
    Ok(wanted.then(|| top.and_then(|top| usize::try_from(top).ok()).unwrap_or(0)))
}

/// Reads the messages, and where their pictures are.
fn messages(fields: &Fields) -> Result<(Vec<Message>, Vec<Source>), ApiError> {
    let Some(value) = fields.get("messages") else {
        return Err(ApiError::invalid("messages", "`messages` is missing"));
    };
    let list = value.as_array().filter(|list| (1..=MAX_MESSAGES).contains(&list.len()));
    let list = list.ok_or_else(|| {
        expected("messages", value, &format!("a list of 1 to {MAX_MESSAGES} messages"))
    })?;
    let mut sources = Vec::new();
    let mut messages: Vec<Message> = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let at = format!("messages[{index}]");
        let message = value.as_object().ok_or_else(|| expected(&at, value, "an object"))?;
        let role = role(message, &at)?;
        let content = content(message, &at, &mut sources)?;
        // A model that was trained with one system message gets one.
        match messages.first_mut() {
            Some(first) if role == Role::System && index == 1 && first.role == role => {
                first.content.push(Part::Text("\n".to_owned()));
                first.content.extend(content);
            }
            _ => messages.push(Message { role, content }),
        }
    }
    Ok((messages, sources))
}

fn role(message: &Map<String, Value>, at: &str) -> Result<Role, ApiError> {
    let name = format!("{at}.role");
    let value = message.get("role").unwrap_or(&Value::Null);
    match value.as_str() {
        Some("system" | "developer") => Ok(Role::System),
        Some("user") => Ok(Role::User),
        Some("assistant") => Ok(Role::Assistant),
        _ => Err(ApiError::invalid(
            name.clone(),
            format!("`{name}` is not known, expected system, developer, user or assistant"),
        )),
    }
}

fn content(
    message: &Map<String, Value>,
    at: &str,
    sources: &mut Vec<Source>,
) -> Result<Vec<Part>, ApiError> {
    let name = format!("{at}.content");
    let parts = match message.get("content") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![Part::Text(text.clone())]),
        Some(Value::Array(parts)) => parts,
        Some(other) => return Err(expected(&name, other, "a text or a list of parts")),
    };
    let mut content = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{name}[{index}]");
        let field = |field: &str| part.get(field).unwrap_or(&Value::Null);
        match field("type").as_str() {
            Some("text" | "input_text") => {
                let (name, value) = (format!("{at}.text"), field("text"));
                let text = value.as_str().ok_or_else(|| expected(&name, value, "a text"))?;
                content.push(Part::Text(text.to_owned()));
            }
            Some("image_url" | "input_image") => {
                let (param, value) = (format!("{at}.image_url"), field("image_url"));
                let url = value.get("url").unwrap_or(value);
                let url = url
                    .as_str()
                    .ok_or_else(|| expected(&param, value, "an object with the text `url`"))?;
                sources.push(Source { url: url.to_owned(), param });
                content.push(Part::Image);
            }
            _ => {
                let name = format!("{at}.type");
                let message = format!("`{name}` is not known, expected text or image_url");
                return Err(ApiError::invalid(name, message));
            }
        }
    }
    Ok(content)
}
