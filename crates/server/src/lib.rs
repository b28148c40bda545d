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
mod chat;
mod completion;
mod error;
mod fields;
mod guard;
mod image;
mod lens;
mod metrics;
mod page;
mod reply;
mod sampling;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::Scheduler;
use prompt::{ImageLimits, Preprocessor, SpecialTokens, Tokenizer};
use serde_json::json;

use crate::error::ApiError;
pub use crate::guard::ApiKey;
use crate::metrics::Metrics;

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
    /// How long a request may take.
    pub deadline: Duration,
    /// The origins whose pages may ask, besides the server's own.
    pub origins: Vec<String>,
    /// The folder that `file:` addresses may name files of; none allows none.
    pub files: Option<PathBuf>,
}

impl Default for Options {
    /// Returns limits that suit a model of some billion parameters.
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            max_body_bytes: 64 << 20,
            max_images: 16,
            image_limits: ImageLimits { max_pixels: 50_000_000, max_bytes: 256 << 20 },
            deadline: Duration::from_mins(10),
            origins: Vec::new(),
            files: None,
        }
    }
}

/// What every handler sees.
#[derive(Debug)]
struct App {
    model: Model,
    options: Options,
    metrics: Metrics,
    /// When the model was loaded, in seconds since 1970.
    created: u64,
}

/// Returns the service: the API, and the page at `/`.
pub fn router(model: Model, options: Options) -> Router {
    let created = reply::now();
    let limit = options.max_body_bytes;
    let app = Arc::new(App { model, options, metrics: Metrics::default(), created });
    Router::new()
        .route("/v1/chat/completions", post(chat::handle))
        .route("/v1/completions", post(completion::handle))
        .route("/v1/attention", post(lens::handle))
        .route("/v1/models", get(models))
        .route("/v1/models/{name}", get(model_of_name))
        .route("/metrics", get(metrics::handle))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), guard::authorize))
        .route("/health", get(health))
        .route("/openapi.json", get(openapi))
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file))
        .fallback(|| async { ApiError::NotFound })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(DefaultBodyLimit::max(limit))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), guard::around))
        .with_state(app)
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let counts = app.model.scheduler.counts();
    json_of(&json!({"status": "ok", "running": counts.running, "waiting": counts.waiting}))
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

async fn model_of_name(
    State(app): State<Arc<App>>,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> Result<Response, ApiError> {
    if name == app.model.name { Ok(json_of(&described(&app))) } else { Err(ApiError::NoModel) }
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

fn json_of(value: &serde_json::Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Serves until `stop` is ready, then lets the requests that run come to their end.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
