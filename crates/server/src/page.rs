//! The demo page: files that are part of the program.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

const INDEX: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");

/// Returns the page.
pub(crate) async fn index() -> Response {
    respond("text/html; charset=utf-8", INDEX)
}

/// Returns a file of the page.
pub(crate) async fn file(Path(file): Path<String>) -> Result<Response, ApiError> {
    match file.as_str() {
        "page.js" => Ok(respond("text/javascript; charset=utf-8", SCRIPT)),
        "page.css" => Ok(respond("text/css; charset=utf-8", STYLE)),
        _ => Err(ApiError::NotFound),
    }
}

fn respond(kind: &'static str, body: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], body).into_response()
}
