//! What a client is told when it gets no answer.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The request says something that makes no sense.
    #[error("{message}")]
    Invalid {
        /// What is wrong, with the limits.
        message: String,
        /// The field.
        param: Option<String>,
    },
    /// The prompt does not fit.
    #[error(
        "the prompt has {tokens} tokens, the model's context is {limit}; ask a shorter question \
         or show fewer images"
    )]
    TooLong {
        /// Its length, vision tokens included.
        tokens: usize,
        /// The longest.
        limit: usize,
    },
    /// The body is larger than allowed.
    #[error("the request is larger than {limit} bytes; send fewer or smaller images")]
    TooLarge {
        /// The largest.
        limit: usize,
    },
    /// The body came too slowly.
    #[error(
        "the body of the request did not arrive in time, expected at least 256 KiB a second; send \
         it again, or smaller images"
    )]
    Slow,
    /// The key is missing or wrong.
    #[error("the API key is missing or not valid, expected `Authorization: Bearer KEY`")]
    Unauthorized,
    /// There is no such page.
    #[error("there is nothing at this address; `/openapi.json` lists what there is")]
    NotFound,
    /// There is no such model.
    #[error("there is no such model; `/v1/models` names the one that is served")]
    NoModel,
    /// The address is used in another way.
    #[error("this address is not used with this method; `/openapi.json` lists what there is")]
    MethodNotAllowed,
    /// Too much to do.
    #[error("the server is busy: {limit} requests are running or waiting; try again later")]
    Busy {
        /// The most there may be.
        limit: usize,
    },
    /// It took too long.
    #[error("the request was not done within its time")]
    Deadline,
    /// The server is about to end.
    #[error("the server is shutting down")]
    Stopping,
    /// A fault of ours, told in the log only.
    #[error("the model could not compute this answer; the server's log says why")]
    Internal,
}

impl ApiError {
    /// Returns an error about a field.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: Some(param.into()) }
    }

    fn status(&self) -> (StatusCode, &'static str, &'static str) {
        let refused = "invalid_request_error";
        match self {
            Self::Invalid { .. } => (StatusCode::BAD_REQUEST, refused, "invalid_value"),
            Self::TooLong { .. } => (StatusCode::BAD_REQUEST, refused, "context_length_exceeded"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, refused, "request_too_large"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "timeout_error", "request_timeout"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, refused, "invalid_api_key"),
            Self::NotFound => (StatusCode::NOT_FOUND, refused, "not_found"),
            Self::NoModel => (StatusCode::NOT_FOUND, refused, "model_not_found"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, refused, "method_not_allowed")
            }
            Self::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "queue_full"),
            Self::Deadline => (StatusCode::GATEWAY_TIMEOUT, "timeout_error", "deadline_exceeded"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "server_error", "stopping"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal"),
        }
    }

    /// Returns the error as the API writes it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let (_, kind, code) = self.status();
        let param = match self {
            Self::Invalid { param, .. } => param.as_deref(),
            Self::TooLong { .. } => Some("messages"),
            _ => None,
        };
        json!({"error": {"message": self.to_string(), "type": kind, "param": param, "code": code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response =
            (self.status().0, [(CONTENT_TYPE, "application/json")], self.to_json().to_string())
                .into_response();
        let headers = response.headers_mut();
        match self {
            Self::Busy { .. } | Self::Stopping => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl From<engine::Error> for ApiError {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::QueueFull { limit } => Self::Busy { limit },
            engine::Error::DeadlineExceeded => Self::Deadline,
            engine::Error::Stopped => Self::Stopping,
            engine::Error::PromptTooLong { tokens, limit } => Self::TooLong { tokens, limit },
            engine::Error::EmptyPrompt => Self::invalid("prompt", error.to_string()),
            engine::Error::Constraint { .. } => Self::invalid("response_format", error.to_string()),
            engine::Error::OutOfRange { field, .. } => Self::invalid(field, error.to_string()),
            error => {
                tracing::error!(error = ?error, "the engine failed");
                Self::Internal
            }
        }
    }
}
