//! What every request passes: its id, its key, the headers of its answer, its line in the log.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, ORIGIN, VARY};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::App;
use crate::connection::Peer;
use crate::error::ApiError;

/// What the page may load: only what comes from here, and pictures that the user chose.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// An API key, known by its hash alone.
#[derive(Clone)]
pub struct ApiKey {
    hash: [u8; 32],
}

impl PartialEq for ApiKey {
    /// Compares in a time that does not depend on what is in the keys.
    fn eq(&self, other: &Self) -> bool {
        self.hash.ct_eq(&other.hash).into()
    }
}

impl Eq for ApiKey {}

impl ApiKey {
    /// Remembers a key.
    pub fn new(key: &str) -> Self {
        Self { hash: Sha256::digest(key).into() }
    }

    /// Remembers a key of which the SHA-256 is known alone, in hexadecimal digits; none if that is
    /// no such hash.
    pub fn from_sha256(digits: &str) -> Option<Self> {
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        Some(Self { hash })
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey")
    }
}

/// Who asks, and how the log calls the request.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) request_id: String,
    /// The same for all requests under one key, or from one address where there are no keys.
    pub(crate) client: u64,
}

/// Lets a request through if its key is one of the server's.
pub(crate) async fn authorize(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let keys = &app.options.keys;
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = header.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let given = key.map(|key| -> [u8; 32] { Sha256::digest(key).into() });
    let known = keys.iter().fold(subtle::Choice::from(0), |known, expected| {
        known | given.map_or(subtle::Choice::from(0), |given| expected.hash.ct_eq(&given))
    });
    if keys.is_empty() || bool::from(known) {
        if let (false, Some(hash), Some(asker)) =
            (keys.is_empty(), given, request.extensions_mut().get_mut::<Asker>())
        {
            asker.client = number_of(&hash);
        }
        next.run(request).await
    } else {
        ApiError::Unauthorized.into_response()
    }
}

fn number_of(hash: &[u8; 32]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first)
}

/// Gives a request its id, its answer the headers that browsers heed, and the log its line.
pub(crate) async fn around(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string());
    let client = number_of(&Sha256::digest(peer.unwrap_or_default()).into());
    request.extensions_mut().insert(Asker { request_id: id.clone(), client });
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let origin = request.headers().get(ORIGIN).cloned();
    let allowed =
        origin.filter(|origin| app.options.origins.iter().any(|known| known.as_bytes() == origin));
    let mut response = if method == Method::OPTIONS && allowed.is_some() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let status = response.status().as_u16();
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("permissions-policy", "camera=(self), microphone=(), geolocation=(), payment=()"),
        ("content-security-policy", POLICY),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), value);
    }
    if let Some(origin) = allowed {
        headers.insert("access-control-allow-origin", origin);
        headers.insert(
            "access-control-allow-headers",
            HeaderValue::from_static("authorization, content-type"),
        );
        headers.insert("access-control-allow-methods", HeaderValue::from_static("GET, POST"));
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
    let time = started.elapsed();
    app.metrics.request(status, time);
    let milliseconds = time.as_secs_f64() * 1e3;
    tracing::info!(request_id = id, method = %method, path, status, milliseconds, "request");
    response
}

/// Returns the id that the client gave, if it is harmless, or a new one.
fn request_id(request: &Request) -> String {
    let given = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    given.filter(harmless).map_or_else(|| crate::reply::fresh_id("req-"), str::to_owned)
}
