//! The demo page: files that are part of the program.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

const INDEX: &[u8] = include_bytes!("page/index.html");

/// What the page consists of besides.
const FILES: &[(&str, &str, &[u8])] = &[
    ("page.js", SCRIPT, include_bytes!("page/page.js")),
    ("api.js", SCRIPT, include_bytes!("page/api.js")),
    ("lens.js", SCRIPT, include_bytes!("page/lens.js")),
    ("parts.js", SCRIPT, include_bytes!("page/parts.js")),
    ("pictures.js", SCRIPT, include_bytes!("page/pictures.js")),
    ("store.js", SCRIPT, include_bytes!("page/store.js")),
    ("turns.js", SCRIPT, include_bytes!("page/turns.js")),
    ("page.css", STYLE, include_bytes!("page/page.css")),
    ("answer.css", STYLE, include_bytes!("page/answer.css")),
    ("icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
    ("flat.jpg", PICTURE, include_bytes!("page/flat.jpg")),
    ("room.jpg", PICTURE, include_bytes!("page/room.jpg")),
    ("sign.jpg", PICTURE, include_bytes!("page/sign.jpg")),
    ("chart.jpg", PICTURE, include_bytes!("page/chart.jpg")),
];
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/jpeg";

/// Returns the page.
pub(crate) async fn index() -> Response {
    respond("text/html; charset=utf-8", INDEX)
}

/// Returns a file of the page.
pub(crate) async fn file(file: Result<Path<String>, PathRejection>) -> Result<Response, ApiError> {
    let Ok(Path(file)) = file else { return Err(ApiError::NotFound) };
    let found = FILES.iter().find(|(name, _, _)| *name == file);
    let (_, kind, body) = found.ok_or(ApiError::NotFound)?;
    Ok(respond(kind, body))
}

fn respond(kind: &'static str, body: &'static [u8]) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], body).into_response()
}
