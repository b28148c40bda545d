//! The `OpenAI` API and the demo page, over a [`Scheduler`].
//!
//! Requests are read into types that are valid, answered by the
//! scheduler's thread, and written as JSON or as server-sent events. Nothing here
//! loads a model or reads the environment.
//!
//! Invariant: whatever a client sends, it gets an answer of the API's form, and nothing of it ever
//! acts as a role, an image or an end token.
#![forbid(unsafe_code)]

mod answer;
mod body;
mod chat;
mod completion;
mod connection;
mod error;
mod fields;
mod form;
mod guard;
mod image;
mod lens;
mod metrics;
mod page;
mod remote;
mod reply;
mod sampling;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::Scheduler;
use prompt::{GrammarCompiler, ImageLimits, Preprocessor, SpecialTokens, Tokenizer};
use serde_json::json;

use crate::body::Budget;
pub use crate::connection::{ConnectionLimits, serve};
use crate::error::ApiError;
pub use crate::guard::ApiKey;
use crate::metrics::Metrics;
use crate::remote::Fetcher;

/// A model that answers, and what its prompts are made with.
#[derive(Debug)]
pub struct Model {
    /// What clients call it.
    pub name: String,
    /// From text to ids and back.
    pub tokenizer: Tokenizer,
    /// The ids with a meaning.
    pub special: SpecialTokens,
    /// From pictures to pixel values.
    pub preprocessor: Preprocessor,
    /// How many positions an image takes.
    pub num_vision_tokens: usize,
    /// The longest sequence that the model and its memory allow.
    pub max_positions: usize,
    /// What computes.
    pub scheduler: Scheduler,
}

/// What is allowed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who may ask; everybody, if there are none.
    pub keys: Vec<ApiKey>,
    /// The largest request, in bytes.
    pub max_body_bytes: usize,
    /// The most images of a request.
    pub max_images: usize,
    /// How large an image may be.
    pub image_limits: ImageLimits,
    /// How long the body of a request may take to arrive, besides a second for each 256 KiB of it
    /// that have arrived.
    pub body_time: Duration,
    /// How long a request may take.
    pub deadline: Duration,
    /// The origins whose pages may ask, besides the server's own.
    pub origins: Vec<String>,
    /// The folder that `file:` addresses may name files of; none allows none.
    pub files: Option<PathBuf>,
    /// Whether images of other servers are fetched; never from addresses that are not public.
    pub remote_images: bool,
}

impl Default for Options {
    /// Returns limits that suit a model of some billion parameters.
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            max_body_bytes: 64 << 20,
            max_images: 16,
            image_limits: ImageLimits { max_pixels: 50_000_000, max_bytes: 256 << 20 },
            body_time: Duration::from_secs(30),
            deadline: Duration::from_mins(10),
            origins: Vec::new(),
            files: None,
            remote_images: false,
        }
    }
}

/// What every handler sees.
#[derive(Debug)]
struct App {
    model: Model,
    options: Options,
    metrics: Metrics,
    budget: Budget,
    fetcher: Fetcher,
    /// What makes grammars of the model's tokens.
    grammars: OnceLock<Result<Arc<GrammarCompiler>, prompt::Error>>,
    /// When the model was loaded, in seconds since 1970.
    created: u64,
}

/// Returns the service: the API, and the page at `/`.
pub fn router(model: Model, options: Options) -> Router {
    let created = reply::now();
    let app = Arc::new(App {
        budget: Budget::new(options.max_body_bytes),
        fetcher: Fetcher::new(options.max_body_bytes),
        grammars: OnceLock::new(),
        metrics: Metrics::default(),
        model,
        options,
        created,
    });
    Router::new()
        .route("/v1/chat/completions", post(chat::handle))
        .route("/v1/completions", post(completion::handle))
        .route("/v1/attention", post(lens::handle))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model_of_name))
        .route("/metrics", get(metrics::handle))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), guard::authorize))
        .route("/health", get(health))
        .route("/openapi.json", get(openapi))
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file))
        .fallback(|| async { ApiError::NotFound })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), guard::around))
        .with_state(app)
}

/// Says whether the engine can answer, for those who restart what cannot.
async fn health(State(app): State<Arc<App>>) -> Response {
    let scheduler = &app.model.scheduler;
    let counts = scheduler.counts();
    let alive = scheduler.is_alive();
    let status = if alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if alive { "ok" } else { "the engine has stopped" };
    let told = json!({"status": word, "running": counts.running, "waiting": counts.waiting});
    (status, json_of(&told)).into_response()
}

fn described(app: &App) -> serde_json::Value {
    json!({
        "id": app.model.name,
        "object": "model",
        "created": app.created,
        "owned_by": "aki",
        "max_model_len": app.model.max_positions,
    })
}

async fn models(State(app): State<Arc<App>>) -> Response {
    json_of(&json!({"object": "list", "data": [described(&app)]}))
}

/// Describes a model by its name, in which there may be a slash, as in those of the hub.
async fn model_of_name(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let known = name.is_ok_and(|Path(name)| name == app.model.name);
    if known { Ok(json_of(&described(&app))) } else { Err(ApiError::NoModel) }
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

fn json_of(value: &serde_json::Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
